'use strict';
// Starts dist/PROGRAM; the build writes this as bin/NAME. Compiling a program takes node longer than
// running it, so dist/PROGRAM.code keeps what V8 made of it. V8 refuses code of another version or other
// flags; everything else that can be wrong with the file must cost time and nothing else. It is used
// when it belongs to the program's owner, nobody else may write it, it is no older than the program and
// its two copies of the code are equal (V8 does not look whether the code is damaged).
const fs = require('node:fs');
const { Script } = require('node:vm');

const path = `${__dirname.slice(0, -'bin'.length)}dist/PROGRAM`;
const script = new Script(fs.readFileSync(path, 'utf8'), { filename: path, cachedData: code() });
script.runInThisContext()(require, __dirname);

function code() {
  try {
    const descriptor = fs.openSync(`${path}.code`);
    const { uid, mode, mtimeMs, size } = fs.fstatSync(descriptor);
    const program = fs.statSync(path);
    const trusted = uid === program.uid && (mode & 0o022) === 0 && mtimeMs >= program.mtimeMs;
    const twice = Buffer.allocUnsafeSlow(trusted ? size : 0);
    fs.readSync(descriptor, twice);
    fs.closeSync(descriptor);
    const once = twice.subarray(0, size / 2);
    return once.equals(twice.subarray(size / 2)) ? once : undefined;
  } catch {
    // There is none, or it cannot be read: the program is compiled as it runs.
    return undefined;
  }
}
