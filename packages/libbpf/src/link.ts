// BpfLink: a program attached to something, for as long as the link is open or pinned.
import { native } from './native.js';
import { attempt } from './error.js';
import { Descriptor } from './descriptor.js';
import { linkFacts } from './info.js';
import type { LinkInfo } from './info.js';
import { openPin, pinAt, unpinAt } from './pin.js';
import type { BpfProgram } from './program.js';

/**
 * A BPF link. The attachment ends when the last descriptor of the link is closed and no pin is left; close() alone does not end
 * it while it is pinned.
 */
export class BpfLink {
  readonly #descriptor: Descriptor;
  readonly #what: string;
  #pin: string | undefined;

  /** For this package: takes over a descriptor. */
  constructor(fd: number, what: string, pin?: string) {
    this.#descriptor = new Descriptor(fd, what);
    this.#what = what;
    this.#pin = pin;
  }

  /** Opens a link by its pin. */
  static openPinned(path: string): BpfLink {
    return new BpfLink(openPin(path, 'link'), `link ${path}`, path);
  }

  /** Opens a link by its id; needs CAP_SYS_ADMIN. */
  static openId(id: number): BpfLink {
    const what = `link ${id}`;
    return new BpfLink(
      attempt(`open ${what}`, () => native.linkFdById(id)),
      what,
    );
  }

  get fd(): number {
    return this.#descriptor.number;
  }

  /** Pins it in a bpffs, so that the attachment outlives the process. */
  pin(path: string): void {
    pinAt(this.fd, path, this.#what);
    this.#pin = path;
  }

  /** Removes the pin. The attachment then lasts as long as this object. */
  unpin(): void {
    if (this.#pin !== undefined) unpinAt(this.#pin, this.#what);
    this.#pin = undefined;
  }

  /** Replaces the present program with another one, atomically: no event is missed, and none is seen by both. */
  update(program: BpfProgram): void {
    attempt(
      `put program '${program.name}' into ${this.#what}`,
      () => native.linkUpdate(this.fd, program.fd),
      (failure) => {
        // cgroup_bpf_replace and netns_link_update compare program types; a dead target gives ENOLINK.
        if (failure.code === 'EINVAL') return `it is of another type than the one that is attached (EINVAL)`;
        if (failure.code === 'ENOLINK') return 'what it was attached to is gone (ENOLINK). Attach anew';
        return undefined;
      },
    );
  }

  /**
   * Runs the program of a link of {@link BpfProgram.attachIterator} over the objects of an open network namespace, and returns
   * what it wrote. `path` names the namespace in errors.
   */
  iterate({ fd, path }: { readonly fd: number; readonly path: string }): Buffer {
    return attempt(
      `run the iterator of ${this.#what} in ${path}`,
      () => native.iterate(this.fd, fd, path),
      ({ syscall, text, code }) => `${syscall}: ${text} (${code})`,
    );
  }

  info(): LinkInfo {
    return attempt(`read ${this.#what}`, () => linkFacts(native.linkInfo(this.fd)));
  }

  /**
   * Ends the attachment at once, whoever else holds the link. It cannot be attached again. EOPNOTSUPP for links to tracepoints
   * and iterators: these end when they are unpinned and closed.
   */
  detach(): void {
    attempt(`detach ${this.#what}`, () => native.linkDetach(this.fd));
  }

  close(): void {
    this.#descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
