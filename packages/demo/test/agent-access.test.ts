// The demo's agent has the rights that the deployed one has: with more, the demo would hide a missing rule.
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { AGENT_RULES } from '../src/agent-access.js';

it('the rules of the demo are those of the ClusterRole', () => {
  const manifest = readFileSync(new URL('../../../deploy/manifest.yaml', import.meta.url), 'utf8');
  const [role] = parseAllDocuments(manifest).filter((document) => document.get('kind') === 'ClusterRole');
  expect(role?.toJS()).toMatchObject({ rules: AGENT_RULES });
});
