// The addresses of network namespaces whose pods leave the mesh. What such a pod has dialled and what waits for ztunnel goes directly as
// soon as the rules of its namespace are gone; until then it must still count as the pod's own, or the kernel would reset it.
import type { DesiredMaps } from '@sluice/datapath';

type OwnAddresses = DesiredMaps['ownAddresses'];

export class LingeringAddresses {
  /** Those of the last pass, and among them those of pods that had left by then. */
  #before: OwnAddresses = new Map();
  #left: ReadonlySet<bigint> = new Set();

  /**
   * @param isChanged whether rules of ours may still be in a namespace, by its cookie
   * @returns what the maps are to hold, and whether a pod leaves with this pass, so that the next one has something to take away
   */
  extend(
    desired: DesiredMaps,
    isChanged: (cookie: bigint) => boolean,
  ): { readonly desired: DesiredMaps; readonly isLeft: boolean } {
    const { ownAddresses } = desired;
    const left = [...this.#before].filter(([cookie]) => !ownAddresses.has(cookie) && isChanged(cookie));
    const isLeft = left.some(([cookie]) => !this.#left.has(cookie));
    this.#before = left.length === 0 ? ownAddresses : new Map([...ownAddresses, ...left]);
    this.#left = new Set(left.map(([cookie]) => cookie));
    return { desired: left.length === 0 ? desired : { ...desired, ownAddresses: this.#before }, isLeft };
  }
}
