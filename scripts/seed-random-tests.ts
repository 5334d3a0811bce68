// What random tests draw from: SLUICE_SEED repeats a run. Without it every run draws anew, and a test that fails names its seed.
import { env } from 'node:process';

const seed = env['SLUICE_SEED'];
if (seed !== undefined) {
  if (!/^\d{1,10}$/.test(seed)) throw new Error(`SLUICE_SEED=${seed} is not a number of up to ten digits`);
  const { configureGlobal, readConfigureGlobal } = await import('fast-check');
  configureGlobal({ ...readConfigureGlobal(), seed: Number(seed) });
}
