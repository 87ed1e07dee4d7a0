// Who of so many has a flag on, as flagd's own library evaluates the file: one line of 0 and 1.
import { readFileSync } from 'node:fs';
import { FlagdCore } from '@openfeature/flagd-core';

const [file, flag, many] = process.argv.slice(2);
const core = new FlagdCore();
core.setConfigurations(readFileSync(file, 'utf8'));
let line = '';
for (let i = 0; i < Number(many); i++) {
  const { value, errorMessage } = core.resolveBooleanEvaluation(flag, false, { targetingKey: `user-${i}` });
  if (errorMessage) throw new Error(errorMessage);
  line += value ? '1' : '0';
}
console.log(line);
