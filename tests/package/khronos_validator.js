// node khronos_validator.js FILE.glb: prints the issues found by Khronos' own validator as JSON; exit 3 where the package is missing.
// NODE_PATH may point at a folder with the npm package gltf-validator.
let validator;
try { validator = require("gltf-validator"); } catch { process.exit(3); }
validator.validateBytes(new Uint8Array(require("fs").readFileSync(process.argv[2]))).then((r) => console.log(JSON.stringify(r.issues)));
