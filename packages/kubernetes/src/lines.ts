// Bytes as they come from a connection, to lines.

/**
 * Splits at line feeds. What is left at the end without one is a line of its own: whoever parses it finds out that it is
 * half of one. Throws when a line is longer than `longest` bytes.
 */
export async function* lines(chunks: AsyncIterable<Buffer>, longest: number): AsyncGenerator<string, void, undefined> {
  let begun: Buffer[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, start)) {
      begun.push(chunk.subarray(start, end));
      yield Buffer.concat(begun).toString('utf8');
      begun = [];
      length = 0;
      start = end + 1;
    }
    if (start < chunk.length) {
      length += chunk.length - start;
      if (length > longest) throw new Error(`a line is longer than ${longest} bytes`);
      begun.push(chunk.subarray(start));
    }
  }
  if (begun.length > 0) yield Buffer.concat(begun).toString('utf8');
}
