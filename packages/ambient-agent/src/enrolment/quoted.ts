// A tenant's text in a message. An annotation may have 256 KiB, and a message is repeated in the status, in events and in the log.

const LONGEST = 64;

/** Pure. */
export const quoted = (text: string): string =>
  text.length <= LONGEST ? `\`${text}\`` : `\`${text.slice(0, LONGEST)}…\` (${text.length} characters)`;
