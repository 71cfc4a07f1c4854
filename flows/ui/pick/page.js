// Marks are kept in px of the left picture as captured: the drawing's own units. One entry per frame; the first that says what the object
// is becomes the prompt, the others its corrections.
"use strict"
const at = id => document.getElementById(id)
const OWN = ["frame", "box_xyxy", "points", "mask", "corrections"]
const LEAST = 8
const state = {frames: [0], size: [1, 1], k: 0, main: null, marks: new Map(), rest: {}, tool: "box", held: null, changed: false}
const address = (what, more = "") => what + location.search + more
const say = (text, bad = false) => { at("said").textContent = text; at("said").className = bad ? "bad" : "" }
const frame = () => state.frames[state.k]
const mark = f => state.marks.get(f) ?? {}
const says = m => m.box_xyxy || m.mask || (m.points ?? []).length
const object = m => m.box_xyxy || m.mask || (m.points ?? []).some(p => p[2])

async function begin() {
  const reply = await fetch(address("about"))
  if (!reply.ok) return say(await reply.text(), true)
  const about = await reply.json()
  Object.assign(state, {frames: about.frames, size: about.size})
  at("name").textContent = about.name
  document.title = `mark ${about.name}`
  read(about.prompt)
  at("frame").max = state.frames.length - 1
  at("picture").setAttribute("viewBox", `-0.5 -0.5 ${state.size[0]} ${state.size[1]}`)
  show(Math.max(0, state.frames.indexOf(state.main ?? state.frames[0])))
  document.body.dataset.ready = "yes"
}

function read(prompt) {
  for (const key of Object.keys(prompt)) if (!OWN.includes(key)) state.rest[key] = prompt[key]
  const entries = [prompt, ...(prompt.corrections ?? [])].filter(says)
  if (entries.length) state.main = entries[0].frame ?? 0
  for (const {frame = 0, box_xyxy, points, mask} of entries) state.marks.set(frame, {box_xyxy, points, mask})
}

function written() {
  const frames = [...state.marks.keys()].filter(f => says(mark(f))).sort((a, b) => a - b)
  if (!frames.length) return Object.keys(state.rest).length ? {...state.rest} : {}
  const main = frames.includes(state.main) && object(mark(state.main)) ? state.main : frames.find(f => object(mark(f))) ?? frames[0]
  const entry = f => {
    const {box_xyxy, points, mask} = mark(f)
    return {frame: f, ...(box_xyxy && {box_xyxy}), ...(points?.length && {points}), ...(mask && {mask})}
  }
  const others = frames.filter(f => f !== main).map(entry)
  return {...state.rest, ...entry(main), ...(others.length && {corrections: others})}
}

function show(k) {
  state.k = Math.min(Math.max(k, 0), state.frames.length - 1)
  at("frame").value = state.k
  at("which").textContent = `frame ${frame()}`
  draw()
}

function draw() {
  const m = mark(frame()), size = 7 * state.size[0] / (at("picture").clientWidth || 800), shapes = []
  const add = (tag, values) => { const e = document.createElementNS("http://www.w3.org/2000/svg", tag); for (const v in values) e.setAttribute(v, values[v]); shapes.push(e) }
  add("image", {href: address("picture", `&frame=${frame()}`), x: -0.5, y: -0.5, width: state.size[0], height: state.size[1]})
  if (m.box_xyxy) {
    const [x0, y0, x1, y1] = m.box_xyxy
    add("rect", {class: "area", x: Math.min(x0, x1), y: Math.min(y0, y1), width: Math.abs(x1 - x0), height: Math.abs(y1 - y0)})
    for (const [x, y] of [[x0, y0], [x1, y0], [x0, y1], [x1, y1]]) add("circle", {class: "corner", cx: x, cy: y, r: size})
  }
  for (const [x, y, on] of m.points ?? []) add("circle", {class: on ? "on" : "beside", cx: x, cy: y, r: size})
  const old = at("picture").querySelector("image")
  if (old && old.getAttribute("href") === shapes[0].getAttribute("href")) shapes[0] = old
  at("picture").replaceChildren(...shapes)
  const marked = [...state.marks.keys()].filter(f => says(mark(f))).sort((a, b) => a - b)
  at("marked").textContent = (marked.length ? `Marked: frame ${marked.join(", ")}` : "Nothing is marked: the object will be found by itself.")
    + (m.mask ? ` This frame has the mask ${m.mask}.` : "")
}

function place(event) {
  const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(at("picture").getScreenCTM().inverse())
  const inside = (v, n) => Math.round(10 * Math.min(Math.max(v, 0), n - 1)) / 10
  return [inside(p.x, state.size[0]), inside(p.y, state.size[1])]
}

function change(fields) {
  state.marks.set(frame(), {...mark(frame()), ...fields})
  state.changed = true
  draw()
}

function near([x, y], [a, b]) { return Math.hypot(x - a, y - b) < 16 * state.size[0] / at("picture").clientWidth }

function down(event) {
  const p = place(event), m = mark(frame())
  event.preventDefault()
  if (m.mask) return say("This frame has a mask, which says it all. Clear the frame to draw instead.", true)
  if (state.tool !== "box") return point(p, state.tool === "on" ? 1 : 0)
  const [x0, y0, x1, y1] = m.box_xyxy ?? []
  const grabbed = m.box_xyxy && [[x0, y0, x1, y1], [x1, y0, x0, y1], [x0, y1, x1, y0], [x1, y1, x0, y0]].find(c => near(p, c))
  state.held = {from: grabbed ? grabbed.slice(2) : p, before: m.box_xyxy}
  at("picture").setPointerCapture(event.pointerId)
}

function move(event) {
  if (!state.held) return
  const [a, b] = state.held.from, [x, y] = place(event)
  change({box_xyxy: [Math.min(a, x), Math.min(b, y), Math.max(a, x), Math.max(b, y)]})
}

function up() {
  if (!state.held) return
  const box = mark(frame()).box_xyxy
  if (box && (box[2] - box[0] < LEAST || box[3] - box[1] < LEAST)) change({box_xyxy: state.held.before})
  state.held = null
}

function point(p, on) {
  const points = mark(frame()).points ?? [], same = points.find(q => near(p, q))
  change({points: same ? points.filter(q => q !== same) : [...points, [...p, on]]})
}

async function save() {
  say("Saving ...")
  const reply = await fetch(address("prompt"), {method: "PUT", body: JSON.stringify(written()), headers: {"content-type": "application/json"}})
  if (!reply.ok) return say(await reply.text(), true)
  state.changed = false
  say("Saved to prompt.json. The next run of this capture uses it.")
}

function choose(tool) {
  state.tool = tool
  for (const id of ["box", "on", "beside"]) at(id).setAttribute("aria-pressed", id === tool)
}

for (const id of ["box", "on", "beside"]) at(id).onclick = () => choose(id)
at("clear").onclick = () => { state.marks.delete(frame()); state.changed = true; draw() }
at("save").onclick = () => save().catch(e => say(`Not saved: ${e}`, true))
at("before").onclick = () => show(state.k - 1)
at("after").onclick = () => show(state.k + 1)
at("frame").oninput = event => show(Number(event.target.value))
at("picture").onpointerdown = down
at("picture").onpointermove = move
at("picture").onpointerup = at("picture").onpointercancel = up
addEventListener("keydown", event => { if (event.target.type !== "range") event.key === "ArrowLeft" ? show(state.k - 1) : event.key === "ArrowRight" && show(state.k + 1) })
addEventListener("beforeunload", event => { if (state.changed) event.preventDefault() })
addEventListener("resize", draw)
begin().catch(e => say(`The server does not answer: ${e}`, true))
