// Search, choice of a status, order by a column and export of batch.html. What was written stays in the address, also when the page loads itself again.
const rows = [...document.querySelectorAll("tbody tr")]
const box = document.getElementById("search"), choice = document.getElementById("status"), shown = document.getElementById("shown")
const words = rows.map(r => r.textContent.toLowerCase())
const cells = row => [...row.cells].slice(1).map(c => c.textContent.trim())
for (const status of new Set(rows.map(r => r.cells[2].textContent))) choice.append(new Option(status, status))

function look() {
  const wanted = box.value.toLowerCase().split(/\s+/).filter(w => w)
  let count = 0
  rows.forEach((row, k) => {
    const fits = wanted.every(w => words[k].includes(w)) && (!choice.value || row.cells[2].textContent === choice.value)
    row.hidden = !fits
    count += fits
  })
  shown.textContent = count === rows.length ? "" : `${count} of ${rows.length} shown`
  const kept = box.value || choice.value ? "#" + new URLSearchParams({q: box.value, s: choice.value}) : " "
  history.replaceState(null, "", kept.trim() || location.pathname + location.search)
}

function order(column) {
  const text = r => r.cells[column] ? r.cells[column].textContent.trim() : ""
  const number = t => t === "" || isNaN(t) ? null : Number(t)
  const before = (a, b) => number(a) !== null && number(b) !== null ? number(a) - number(b) : a.localeCompare(b)
  const sorted = [...rows].sort((a, b) => before(text(a), text(b)))
  const body = document.querySelector("tbody")
  const down = body.dataset.by === String(column)
  body.dataset.by = down ? "" : String(column)
  body.append(...(down ? sorted.reverse() : sorted))
}

function save() {
  const head = [...document.querySelectorAll("th")].slice(1).map(h => h.textContent)
  const quoted = t => `"${(/^[=+@-]/.test(t) && isNaN(t) ? "'" + t : t).replaceAll('"', '""')}"`
  const lines = [head, ...rows.filter(r => !r.hidden).map(cells)].map(line => line.map(quoted).join(","))
  const link = document.createElement("a")
  link.href = URL.createObjectURL(new Blob([lines.join("\r\n")], {type: "text/csv"}))
  link.download = "batch.csv"
  link.click()
}

const kept = new URLSearchParams(location.hash.slice(1))
box.value = kept.get("q") || ""
choice.value = kept.get("s") || ""
box.addEventListener("input", look)
choice.addEventListener("change", look)
document.getElementById("export").addEventListener("click", save)
document.querySelectorAll("th").forEach((h, k) => k && h.addEventListener("click", () => order(k)))
look()
if (document.body.dataset.goesOn) setTimeout(() => location.reload(), 15000)
