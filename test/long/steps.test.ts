import { testSteps } from '../support/hostile-text.ts';

testSteps(10);
