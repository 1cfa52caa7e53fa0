'use strict';
// Runs a program once and keeps what V8 made of it, for packaging/start.cjs: the code of the functions
// that ran, twice. `node code.cjs PROGRAM BIN ARG...` with the program's own input and environment.
const fs = require('node:fs');
const { createRequire } = require('node:module');
const { dirname } = require('node:path');
const { Script } = require('node:vm');

const [node, , path, bin, ...args] = process.argv;
process.argv = [node, bin, ...args];
const script = new Script(fs.readFileSync(path, 'latin1'), { filename: path });
process.on('exit', () => {
  const code = script.createCachedData();
  fs.writeFileSync(`${path}.new`, Buffer.concat([code, code]), { mode: 0o644 });
  fs.renameSync(`${path}.new`, `${path}.code`);
});
script.runInThisContext()(createRequire(bin), dirname(bin));
