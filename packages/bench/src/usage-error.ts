/** What is wrong with the command line, in words. */
export class UsageError extends Error {}
