// The part of a verifier log that tells a reader what is wrong.

const LAST_LINES = 15;

/** Lines of statistics that end every log (print_verification_stats in kernel/bpf/verifier.c). */
const STATISTICS = /^(processed \d+ insns|verification time|stack depth|mark_precise: )/;

/** The last lines of a verifier log, without its closing statistics: the last of these is the verifier's reason. */
export function trimVerifierLog(log: string, lines = LAST_LINES): string {
  const interesting = log.split('\n').filter((line) => line.trim() !== '' && !STATISTICS.test(line));
  const last = interesting.slice(-lines);
  const left = interesting.length - last.length;
  return (left > 0 ? [`... (${left} lines before these)`, ...last] : last).join('\n');
}
