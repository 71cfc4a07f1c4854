// The view of BoxPicker: drag to draw; the box is kept in px of the picture, whatever size it is shown at.
const SVG = "http://www.w3.org/2000/svg"
const LEAST = 8

function render({model, el}) {
  const [width, height] = model.get("size")
  const make = (tag, values) => { const e = document.createElementNS(SVG, tag); for (const v in values) e.setAttribute(v, values[v]); return e }
  const svg = make("svg", {viewBox: `-0.5 -0.5 ${width} ${height}`, style: "width:100%;max-width:900px;cursor:crosshair;touch-action:none;display:block"})
  const address = URL.createObjectURL(new Blob([model.get("picture")], {type: "image/jpeg"}))
  const box = make("rect", {fill: "#1e90ff22", stroke: "#1e90ff", "stroke-width": 2, "vector-effect": "non-scaling-stroke"})
  svg.append(make("image", {href: address, x: -0.5, y: -0.5, width, height}), box)
  const said = document.createElement("div")
  el.append(svg, said)

  const draw = () => {
    const [x0, y0, x1, y1] = model.get("box").length === 4 ? model.get("box") : [0, 0, 0, 0]
    for (const [k, v] of Object.entries({x: x0, y: y0, width: x1 - x0, height: y1 - y0})) box.setAttribute(k, v)
    said.textContent = x1 > x0 ? `box ${[x0, y0, x1, y1].map(v => v.toFixed(0)).join(", ")}` : "drag a box round the object"
  }
  const place = event => {
    const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse())
    return [Math.min(Math.max(p.x, 0), width - 1), Math.min(Math.max(p.y, 0), height - 1)]
  }
  let from = null
  const to = event => { const p = place(event); return [Math.min(p[0], from[0]), Math.min(p[1], from[1]), Math.max(p[0], from[0]), Math.max(p[1], from[1])] }
  const set = value => { model.set("box", value); draw() }
  svg.onpointerdown = event => { event.preventDefault(); from = place(event); svg.setPointerCapture(event.pointerId) }
  svg.onpointermove = event => { if (from) set(to(event)) }
  svg.onpointerup = event => {
    if (!from) return
    const found = to(event)
    from = null
    set(found[2] - found[0] < LEAST || found[3] - found[1] < LEAST ? [] : found)
    model.save_changes()
  }
  model.on("change:box", draw)
  draw()
  return () => URL.revokeObjectURL(address)
}

export default {render}
