// The part `drain` of bench.mjs: returns its section of RESULTS.md.
export function drain() {
  return 'Not measured yet.\n';
}
