// fast-check for the tests of properties. They try the same cases in every run, so that a change is judged
// by what it changed; FUZZ_SEED says others.
import fc from 'fast-check';

export const SEED = Number(process.env['FUZZ_SEED'] ?? 20_261_121);

fc.configureGlobal({ seed: SEED });

export { fc };
