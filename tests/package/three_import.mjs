// node three_import.mjs FOLDER: each file of a twin as three.js' loaders take it (y up, metres): bounds and outward normals with colours as JSON.
// NODE_PATH names a folder with the npm package three; exit 3 where it is missing. Pictures are not decoded, uv is (origin bottom-left).
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const folder = process.argv[2];
let root;
try { root = createRequire(import.meta.url).resolve("three").replace(/build\/[^/]*$/, ""); } catch { process.exit(3); }
const load = (name) => import(pathToFileURL(root + name));
const THREE = await load("build/three.module.js");
globalThis.self ??= globalThis;
globalThis.createImageBitmap ??= async () => ({ width: 1, height: 1, close() {} });

const bytes = (name) => { const b = readFileSync(`${folder}/${name}`); return b.buffer.slice(b.byteOffset, b.byteOffset + b.length); };
const readers = {
  "twin.obj": async (name) => new (await load("examples/jsm/loaders/OBJLoader.js")).OBJLoader().parse(readFileSync(`${folder}/${name}`, "utf8")),
  "mesh.ply": async (name) => new THREE.Mesh(new (await load("examples/jsm/loaders/PLYLoader.js")).PLYLoader().parse(bytes(name))),
  "twin.glb": async (name) => (await new (await load("examples/jsm/loaders/GLTFLoader.js")).GLTFLoader().parseAsync(bytes(name), "")).scene,
};

function measured(scene) {
  scene.updateMatrixWorld(true);
  const box = new THREE.Box3().setFromObject(scene), faces = [];
  scene.traverse((mesh) => {
    if (!mesh.isMesh) return;
    const g = mesh.geometry.index ? mesh.geometry.toNonIndexed() : mesh.geometry;
    const at = (name, i) => new THREE.Vector3().fromBufferAttribute(g.attributes[name], i);
    for (let i = 0; i < g.attributes.position.count; i += 3) {
      const [a, b, c] = [0, 1, 2].map((k) => at("position", i + k).applyMatrix4(mesh.matrixWorld));
      const normal = b.sub(a).cross(c.sub(a)).normalize().toArray();
      const uv = g.attributes.uv ? [0, 1].map((k) => [0, 1, 2].reduce((s, j) => s + g.attributes.uv.array[2 * (i + j) + k], 0) / 3) : null;
      const colour = g.attributes.color
        ? new THREE.Color().fromBufferAttribute(g.attributes.color, i).convertLinearToSRGB().toArray().map((x) => Math.round(255 * x)) : null;
      faces.push([normal, colour, uv]);
    }
  });
  return { low: box.min.toArray(), high: box.max.toArray(), faces };
}

const found = {};
for (const [name, read] of Object.entries(readers)) if (existsSync(`${folder}/${name}`)) found[name] = measured(await read(name));
console.log(JSON.stringify(found));
