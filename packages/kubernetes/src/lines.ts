// Turns the bytes of a connection into lines.
import * as Effect from 'effect/Effect';
import * as Stream from 'effect/Stream';

const LINE_FEED = 0x0a;

/**
 * Splits at line feeds. What remains at an orderly end is a line too; its parser finds out whether it is only a part of one.
 * Fails with `tooLong` when a line that has not ended is longer than `longest` bytes.
 */
export const lines = <E>(
  chunks: Stream.Stream<Buffer, E>,
  longest: number,
  tooLong: () => E,
): Stream.Stream<string, E> =>
  chunks.pipe(
    // This marks an orderly end; a connection that breaks does not get so far.
    Stream.concat(Stream.succeed(undefined)),
    Stream.mapAccumEffect(
      (): Buffer => Buffer.alloc(0),
      (begun, chunk) => {
        if (chunk === undefined) return Effect.succeed([begun, begun.length > 0 ? [begun.toString('utf8')] : []]);
        const bytes = begun.length > 0 ? Buffer.concat([begun, chunk]) : chunk;
        const end = bytes.lastIndexOf(LINE_FEED);
        const rest = bytes.subarray(end + 1);
        if (rest.length > longest) return Effect.fail(tooLong());
        return Effect.succeed([rest, end < 0 ? [] : bytes.toString('utf8', 0, end).split('\n')]);
      },
    ),
  );
