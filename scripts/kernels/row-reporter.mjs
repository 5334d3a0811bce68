// Reports vitest's tests as the lane does its cases: one JSON line each, with what failed.
import { release } from 'node:os';

export default class RowReporter {
  #suites = 0;

  onTestCaseResult(test) {
    const { state, errors = [] } = test.result();
    const why = errors.length === 0 ? {} : { errors: errors.map(({ message }) => message) };
    const { duration = 0 } = test.diagnostic() ?? {};
    const row = { what: test.fullName, ok: state === 'passed', ms: Math.round(duration), ...why, kernel: release() };
    console.log(JSON.stringify(row));
  }

  /** A suite whose hook fails has no failed test. */
  onTestSuiteResult(suite) {
    for (const { message } of suite.errors()) this.#broken(suite.fullName, message);
  }

  onTestModuleEnd(module) {
    this.#suites += 1;
    for (const { message } of module.errors()) this.#broken(module.relativeModuleId, message);
  }

  onTestRunEnd(_modules, unhandled) {
    for (const { message } of unhandled) this.#broken('outside of every test', message);
    if (this.#suites === 0) this.#broken('the tests', 'none was found');
  }

  #broken(what, message) {
    console.log(JSON.stringify({ what, ok: false, errors: [message], kernel: release() }));
  }
}
