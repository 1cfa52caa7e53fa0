// The part `scale` of bench.mjs: returns its section of RESULTS.md.
export function scale() {
  return 'Not measured yet.\n';
}
