import { testSteps } from '../support/hostile-text.ts';

testSteps(0.25);
