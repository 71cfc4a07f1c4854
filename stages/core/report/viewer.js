// A small WebGL viewer for one textured mesh: orbit, pan, zoom, three looks, cameras, a scale bar. No libraries, no network.
"use strict";
(function () {
  const data = JSON.parse(document.getElementById("twin-data").textContent);
  const canvas = document.getElementById("view");
  const gl = canvas.getContext("webgl", { antialias: true, alpha: false }) || canvas.getContext("experimental-webgl");
  const wide = gl && gl.getExtension("OES_element_index_uint");
  if (!gl || (data.wide && !wide)) {
    document.getElementById("no-webgl").hidden = false;
    canvas.hidden = true;
    return;
  }

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => draw());

  const VERTEX = `
    attribute vec3 position; attribute vec4 normal; attribute vec2 uv;
    uniform mat4 clipFromObject; uniform vec3 low, span;
    varying vec3 place, facing; varying vec2 at; varying float confidence;
    void main() {
      place = low + position * span; facing = normal.xyz; at = uv; confidence = normal.w;
      gl_Position = clipFromObject * vec4(place, 1.0);
    }`;
  const FRAGMENT = `
    precision highp float;
    varying vec3 place, facing; varying vec2 at; varying float confidence;
    uniform sampler2D texture; uniform int look; uniform vec3 eye;
    vec3 scale(float t) {                       // dark blue, teal, yellow: readable without colour vision
      return t < 0.5 ? mix(vec3(0.18, 0.10, 0.42), vec3(0.13, 0.57, 0.55), t * 2.0)
                     : mix(vec3(0.13, 0.57, 0.55), vec3(0.98, 0.90, 0.15), t * 2.0 - 1.0);
    }
    void main() {
      float light = 0.30 + 0.70 * abs(dot(normalize(facing), normalize(eye - place)));
      if (look == 0) gl_FragColor = texture2D(texture, at);
      else if (look == 1) gl_FragColor = vec4(vec3(0.80) * light, 1.0);
      else gl_FragColor = vec4((confidence < 0.004 ? vec3(0.62) : scale(clamp(confidence, 0.0, 1.0))) * light, 1.0);
    }`;
  const LINE_VERTEX = `attribute vec3 position; attribute vec3 colour; uniform mat4 clipFromObject; varying vec3 shade;
    void main() { shade = colour; gl_Position = clipFromObject * vec4(position, 1.0); }`;
  const LINE_FRAGMENT = `precision mediump float; varying vec3 shade; void main() { gl_FragColor = vec4(shade, 1.0); }`;

  function bytes(text) {
    const raw = atob(text), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  }
  function program(vertex, fragment) {
    const p = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const s = gl.createShader(kind);
      gl.shaderSource(s, source);
      gl.compileShader(s);
      if (!gl.getShaderParameter(s, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(s));
      gl.attachShader(p, s);
    }
    gl.linkProgram(p);
    return p;
  }
  function buffer(target, content) {
    const b = gl.createBuffer();
    gl.bindBuffer(target, b);
    gl.bufferData(target, content, gl.STATIC_DRAW);
    return b;
  }
  function attribute(p, name, b, size, type, normalised, stride) {
    const where = gl.getAttribLocation(p, name);
    if (where < 0) return;
    gl.bindBuffer(gl.ARRAY_BUFFER, b);
    gl.enableVertexAttribArray(where);
    gl.vertexAttribPointer(where, size, type, normalised, stride, 0);
  }

  // three 16-bit numbers are 6 bytes: pad to 8, vertex data should start at multiples of 4
  const packed = new Uint16Array(bytes(data.position).buffer), padded = new Uint16Array(data.vertices * 4);
  for (let i = 0; i < data.vertices; i++) for (let k = 0; k < 3; k++) padded[4 * i + k] = packed[3 * i + k];
  const position = buffer(gl.ARRAY_BUFFER, padded), uv = buffer(gl.ARRAY_BUFFER, bytes(data.uv)), normal = buffer(gl.ARRAY_BUFFER, bytes(data.normal));
  const indexBytes = bytes(data.index), index = buffer(gl.ELEMENT_ARRAY_BUFFER, indexBytes), indexCount = indexBytes.length / (data.wide ? 4 : 2);
  const mesh = program(VERTEX, FRAGMENT), lines = program(LINE_VERTEX, LINE_FRAGMENT);

  const texture = gl.createTexture(), image = new Image();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, 1, 1, 0, gl.RGB, gl.UNSIGNED_BYTE, new Uint8Array([200, 200, 200]));
  image.onload = function () {
    const most = gl.getParameter(gl.MAX_TEXTURE_SIZE);
    let source = image;
    if (Math.max(image.width, image.height) > most) {
      source = document.createElement("canvas");
      source.width = source.height = most;
      source.getContext("2d").drawImage(image, 0, 0, most, most);
    }
    const square = (source.width & (source.width - 1)) === 0 && (source.height & (source.height - 1)) === 0;
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, source);
    if (square) gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, square ? gl.LINEAR_MIPMAP_LINEAR : gl.LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    canvas.dataset.ready = "yes";
    draw();
  };
  image.src = data.texture;

  // --- vectors: plain arrays; matrices column by column ---
  const add = (a, b, s) => [a[0] + b[0] * s, a[1] + b[1] * s, a[2] + b[2] * s];
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const unit = (a) => { const n = Math.hypot(a[0], a[1], a[2]) || 1; return [a[0] / n, a[1] / n, a[2] / n]; };
  function multiply(a, b) {
    const out = new Float32Array(16);
    for (let c = 0; c < 4; c++) for (let r = 0; r < 4; r++) for (let k = 0; k < 4; k++) out[4 * c + r] += a[4 * k + r] * b[4 * c + k];
    return out;
  }

  const centre = data.low.map((v, k) => v + data.span[k] / 2), radius = Math.hypot(...data.span) / 2;
  const ANGLE = 35 * Math.PI / 180;
  const home = { yaw: 0.6, pitch: 0.35, distance: radius / Math.sin(ANGLE / 2) * 1.02, target: centre.slice() };
  let state = { ...home, target: home.target.slice() }, look = 0, showCameras = false, showBox = false, pending = false;

  function axes() {
    const cp = Math.cos(state.pitch), sp = Math.sin(state.pitch), cy = Math.cos(state.yaw), sy = Math.sin(state.yaw);
    const back = [sy * cp, sp, cy * cp], right = [cy, 0, -sy];
    return { right, up: cross(back, right), back };
  }
  function clipFromObject() {
    const { right, up, back } = axes(), eye = add(state.target, back, state.distance);
    const near = Math.max(state.distance - 40 * radius, state.distance * 0.01), far = state.distance + 40 * radius;
    const f = 1 / Math.tan(ANGLE / 2), aspect = canvas.width / canvas.height;
    const p = new Float32Array([f / Math.max(aspect, 1e-3), 0, 0, 0, 0, f, 0, 0, 0, 0, (far + near) / (near - far), -1, 0, 0, 2 * far * near / (near - far), 0]);
    const v = new Float32Array([right[0], up[0], back[0], 0, right[1], up[1], back[1], 0, right[2], up[2], back[2], 0,
      -dot(right, eye), -dot(up, eye), -dot(back, eye), 1]);
    return { matrix: multiply(p, v), eye };
  }

  function cameraLines() {
    const place = [], colour = [], size = 0.18 * radius;
    const push = (a, b, c) => { place.push(...a, ...b); colour.push(...c, ...c); };
    for (const cam of data.cameras) {
      const c = cam.ok ? [0.10, 0.45, 0.80] : [0.85, 0.35, 0.10];
      const corner = cam.corners.map((r) => add(cam.centre, r, size));
      for (let k = 0; k < 4; k++) { push(cam.centre, corner[k], c); push(corner[k], corner[(k + 1) % 4], c); }
    }
    if (data.next) {                             // where to film from next
      const corner = data.next.corners.map((r) => add(data.next.centre, r, 1.6 * size));
      for (let k = 0; k < 4; k++) { push(data.next.centre, corner[k], [0.05, 0.6, 0.2]); push(corner[k], corner[(k + 1) % 4], [0.05, 0.6, 0.2]); }
    }
    for (let k = 1; k < data.cameras.length; k++) push(data.cameras[k - 1].centre, data.cameras[k].centre, [0.6, 0.6, 0.6]);
    return { place, colour };
  }
  function boxLines() {
    const place = [], colour = [], at = (k) => data.low.map((v, a) => v + ((k >> a) & 1) * data.span[a]);
    for (let k = 0; k < 8; k++) for (let a = 0; a < 3; a++) if (!((k >> a) & 1)) { place.push(...at(k), ...at(k | (1 << a))); colour.push(0.5, 0.5, 0.5, 0.5, 0.5, 0.5); }
    return { place, colour };
  }
  function rimLines() {                          // of an open mesh, always drawn
    const place = data.rim ? Array.from(new Float32Array(bytes(data.rim).buffer)) : [];
    return { place, colour: place.map((_, k) => [0.85, 0.05, 0.15][k % 3]) };
  }
  function lineSet(made) {
    return { position: buffer(gl.ARRAY_BUFFER, new Float32Array(made.place)), colour: buffer(gl.ARRAY_BUFFER, new Float32Array(made.colour)), count: made.place.length / 3 };
  }
  const cameras = lineSet(cameraLines()), box = lineSet(boxLines()), rim = lineSet(rimLines());

  function drawLines(set, matrix) {
    gl.useProgram(lines);
    gl.uniformMatrix4fv(gl.getUniformLocation(lines, "clipFromObject"), false, matrix);
    attribute(lines, "position", set.position, 3, gl.FLOAT, false, 12);
    attribute(lines, "colour", set.colour, 3, gl.FLOAT, false, 12);
    gl.drawArrays(gl.LINES, 0, set.count);
  }
  function paint() {
    pending = false;
    const ratio = window.devicePixelRatio || 1, w = Math.round(canvas.clientWidth * ratio), h = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    gl.viewport(0, 0, w, h);
    gl.clearColor(...(dark.matches ? [0.11, 0.12, 0.14] : [0.93, 0.93, 0.94]), 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    const { matrix, eye } = clipFromObject();
    gl.useProgram(mesh);
    gl.uniformMatrix4fv(gl.getUniformLocation(mesh, "clipFromObject"), false, matrix);
    gl.uniform3fv(gl.getUniformLocation(mesh, "low"), data.low);
    gl.uniform3fv(gl.getUniformLocation(mesh, "span"), data.span);
    gl.uniform3fv(gl.getUniformLocation(mesh, "eye"), eye);
    gl.uniform1i(gl.getUniformLocation(mesh, "look"), look);
    attribute(mesh, "position", position, 3, gl.UNSIGNED_SHORT, true, 8);
    attribute(mesh, "uv", uv, 2, gl.UNSIGNED_SHORT, true, 4);
    attribute(mesh, "normal", normal, 4, gl.BYTE, true, 4);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, index);
    gl.drawElements(gl.TRIANGLES, indexCount, data.wide ? gl.UNSIGNED_INT : gl.UNSIGNED_SHORT, 0);
    if (rim.count) drawLines(rim, matrix);
    if (showCameras && cameras.count) drawLines(cameras, matrix);
    if (showBox) drawLines(box, matrix);
    scaleBar();
  }
  function draw() { if (!pending) { pending = true; requestAnimationFrame(paint); } }

  function scaleBar() {                          // metres per CSS pixel at the target
    const perPixel = 2 * state.distance * Math.tan(ANGLE / 2) / canvas.clientHeight;
    let length = Math.pow(10, Math.floor(Math.log10(perPixel * 120)));
    for (const step of [5, 2]) if (length * step <= perPixel * 120) { length *= step; break; }
    const bar = document.getElementById("scale");
    bar.style.width = (length / perPixel).toFixed(1) + "px";
    bar.textContent = data.metric === false ? Number(length.toPrecision(3)) + " units" : length >= 1 ? length + " m" : Number((length * 1000).toPrecision(3)) + " mm";
  }

  // --- pointer: one orbits, shift / right button / two fingers pan, wheel / pinch zoom, double click back to the start ---
  const pointers = new Map();
  function pan(dx, dy) {
    const { right, up } = axes(), s = 2 * state.distance * Math.tan(ANGLE / 2) / canvas.clientHeight;
    state.target = add(add(state.target, right, -dx * s), up, dy * s);
  }
  function zoom(factor) { state.distance = Math.min(Math.max(state.distance * factor, radius * 0.05), radius * 60); }
  canvas.addEventListener("pointerdown", (e) => {
    if (canvas.setPointerCapture) canvas.setPointerCapture(e.pointerId);
    pointers.set(e.pointerId, [e.clientX, e.clientY]);
  });
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (e) => pointers.delete(e.pointerId));
  canvas.addEventListener("pointermove", (e) => {
    const was = pointers.get(e.pointerId);
    if (!was) return;
    const dx = e.clientX - was[0], dy = e.clientY - was[1];
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== e.pointerId)[1], gap = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
      zoom(gap(was) / gap([e.clientX, e.clientY]));
      pan(dx / 2, dy / 2);
    } else if (e.shiftKey || e.buttons & 6) {
      pan(dx, dy);
    } else {
      state.yaw -= dx * 0.008;
      state.pitch = Math.min(Math.max(state.pitch + dy * 0.008, -1.55), 1.55);
    }
    pointers.set(e.pointerId, [e.clientX, e.clientY]);
    draw();
  });
  canvas.addEventListener("wheel", (e) => { e.preventDefault(); zoom(Math.exp(Math.max(-1, Math.min(1, e.deltaY * 0.002)))); draw(); }, { passive: false });
  canvas.addEventListener("dblclick", () => { state = { ...home, target: home.target.slice() }; draw(); });
  canvas.addEventListener("contextmenu", (e) => e.preventDefault());
  canvas.addEventListener("keydown", (e) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[e.key];
    if (step) { state.yaw += step[0] * 0.1; state.pitch = Math.min(Math.max(state.pitch + step[1] * 0.1, -1.55), 1.55); }
    else if (e.key === "+" || e.key === "-") zoom(e.key === "+" ? 0.9 : 1.1);
    else if (e.key === "Home") state = { ...home, target: home.target.slice() };
    else return;
    e.preventDefault();
    draw();
  });

  document.querySelectorAll("[data-look]").forEach((b) => b.addEventListener("click", () => {
    look = Number(b.dataset.look);
    document.getElementById("legend").hidden = look !== 2;
    document.querySelectorAll("[data-look]").forEach((o) => o.setAttribute("aria-pressed", String(o === b)));
    draw();
  }));
  function toggle(id, change) {
    const b = document.getElementById(id);
    b.addEventListener("click", () => { b.setAttribute("aria-pressed", String(change())); draw(); });
  }
  toggle("cameras", () => {
    showCameras = !showCameras;
    if (showCameras) state.distance = Math.max(state.distance, reach() / Math.sin(ANGLE / 2) * 1.02);
    return showCameras;
  });
  toggle("box", () => (showBox = !showBox));
  function reach() { return data.cameras.reduce((m, c) => Math.max(m, Math.hypot(...add(c.centre, centre, -1))), radius); }

  // for pictures of the page: report.html#look=1&cameras=1&yaw=2
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
    if (key === "look") document.querySelector(`[data-look="${Number(value)}"]`)?.click();
    if (key === "cameras") document.getElementById("cameras").click();
    if (key === "yaw" || key === "pitch") state[key] = Number(value) || 0;
  }
  window.addEventListener("resize", draw);
  draw();
})();
