// The page: what is filtered, opened and chosen, and who is told of it.

const el = (id) => document.getElementById(id);
const isNarrow = () => innerWidth <= 800;

class App {
  constructor(data) {
    this.data = data;
    this.words = searchable(data);
    this.best = {};
    for (const group of ["genre", "mood", "voice", "instrument"]) this.best[group] = bestOf(data, group);
    this.genre = this.best.genre;
    this.playlist = new Set();
    this.opened = null;
    this.inside = null;
    this.rows = new Uint32Array(0);
    this.list = new List(this, el);
    this.map = data.columns.map ? new TrackMap(this, el) : null;
    this.fillChoices();
    this.listen();
    document.querySelector("[data-tab=map]").hidden = !this.map;
    el("n-errors").textContent = count(data.errors.length);
    drawErrors(data, el("errors"));
    this.refilter();
    this.drawPlaylist();
    this.tab(isNarrow() ? "list" : this.map ? "map" : "overview");
  }

  listen() {
    for (const id of FILTERS) el(id).addEventListener("input", () => this.refilter());
    el("filters").addEventListener("submit", (event) => event.preventDefault());
    el("filters").addEventListener("reset", () => setTimeout(() => (this.map ? this.map.arm(false) : this.refilter())));
    for (const tab of document.querySelectorAll("[role=tab]")) tab.addEventListener("click", () => this.tab(tab.dataset.tab));
    el("add-all").addEventListener("click", () => { for (const i of this.rows) this.playlist.add(i); this.drawPlaylist(); });
    el("empty").addEventListener("click", () => { this.playlist.clear(); this.drawPlaylist(); });
    el("save").addEventListener("click", () => this.save());
    el("theme").addEventListener("click", () => this.theme());
    document.addEventListener("keydown", (event) => this.key(event));
  }

  fillChoices() {
    const { data } = this, option = (value, text) => make("option", { value }, text), groups = new Map();
    for (const [label, n] of frequent(data.columns.tags.filter((t, k) => t !== NO_TAG && isMeant(data, k)))) {
      const group = data.labels[label].group || "other";
      if (!groups.has(group)) groups.set(group, make("optgroup", { label: group }));
      groups.get(group).append(option(label, `${data.labels[label].name} (${count(n)})`));
    }
    el("tag").replaceChildren(option("", "any tag"), ...groups.values());
    el("format").replaceChildren(option("", "any format"), ...data.formats.map((name, k) => option(k, name || "unknown")));
    el("folder").replaceChildren(option("", "any folder"), ...topFolders(data).map(([path, name]) => option(path, name)));
  }

  refilter() {
    const started = performance.now(), { n } = this.data;
    el("least-text").textContent = (Number(el("least").value) / 100).toFixed(2);
    this.rows = chosenRows(this.data, this.words, readFilters(el, this.words), this.inside);
    this.list.show(this.rows);
    el("count").textContent = this.rows.length === n ? plural(n, "track") : `${count(this.rows.length)} of ${plural(n, "track")}`;
    document.body.dataset.filteredMs = (performance.now() - started).toFixed(1);
    this.map?.later();
    clearTimeout(this.overviewTimer);
    this.overviewTimer = setTimeout(() => { if (this.shown === "overview") drawOverview(this, el("overview")); }, 120);
  }

  setFilter(id, value) { this.setFilters({ [id]: value }); }

  setFilters(values) {
    for (const [id, value] of Object.entries(values)) el(id).value = value;
    this.refilter();
    if (isNarrow()) this.tab("list");
  }

  /** Only what lies in the loop (a byte per track) is left; null takes the loop away. */
  lasso(inside) {
    this.inside = inside;
    el("lasso-says").textContent = inside ? "Only tracks in the loop are listed; Clear takes it away." : "";
    this.refilter();
  }

  open(i) {
    this.opened = i;
    drawTrack(this, el("track"), i);
    this.tab("track");
    this.map?.later();
  }

  toggle(i) {
    if (!this.playlist.delete(i)) this.playlist.add(i);
    this.drawPlaylist();
    if (this.shown === "track" && this.opened !== null) drawTrack(this, el("track"), this.opened);
  }

  drawPlaylist() {
    const { data } = this, tracks = [...this.playlist], shown = tracks.slice(0, 500);
    el("total").textContent = `${plural(tracks.length, "track")}, ${clock(tracks.reduce((sum, i) => sum + data.columns.seconds[i], 0))}`;
    el("n-playlist").textContent = count(tracks.length);
    el("save").disabled = el("empty").disabled = !tracks.length;
    el("save-says").textContent = "";
    const items = shown.map((i) => make("li", {},
      make("button", { type: "button", onclick: () => this.open(i) }, nameOf(data, i)),
      make("button", { type: "button", class: "out", "aria-label": "Take out", onclick: () => this.toggle(i) }, "−")));
    if (shown.length < tracks.length) items.push(make("li", { class: "hint" }, `and ${count(tracks.length - shown.length)} more`));
    el("chosen").replaceChildren(...items);
    this.list.draw();
  }

  save() {
    const { text, leftOut } = m3u8(this.data, [...this.playlist]);
    const href = URL.createObjectURL(new Blob([text], { type: "audio/x-mpegurl" }));
    make("a", { href, download: "playlist.m3u8" }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10000);
    el("save-says").textContent = leftOut ? `${plural(leftOut, "track")} left out: their names fit no line of text.` : "";
  }

  tab(name) {
    this.shown = name;
    for (const tab of document.querySelectorAll("[role=tab]")) tab.setAttribute("aria-selected", String(tab.dataset.tab === name));
    for (const section of document.querySelectorAll("main > section")) section.classList.toggle("shown", section.id === name);
    if (name === "overview") drawOverview(this, el("overview"));
    if (name === "map") this.map?.later();
    if (name === "list") this.list.draw();
  }

  theme() {
    const { dataset } = document.documentElement;
    const isDark = dataset.theme ? dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    dataset.theme = isDark ? "light" : "dark";
    this.map?.later();
  }

  key(event) {
    const inSearch = event.target === el("search");
    if (event.key === "/" && !event.target.matches("input")) el("search").focus();
    else if (inSearch && (event.key === "Escape" || event.key === "ArrowDown")) el("rows").focus();
    else return;
    event.preventDefault();
  }
}

/** [path, shown] of the folders on the first two levels below what all have in common. */
function topFolders({ folders, common }) {
  const found = new Set();
  for (const folder of folders) {
    const [first, second] = folder.slice(common.length).split("/").filter(Boolean);
    if (first) found.add(`${common}${first}/`);
    if (second) found.add(`${common}${first}/${second}/`);
  }
  return [...found].sort().slice(0, 2000).map((path) => [path, path.slice(common.length, -1)]);
}

unpack(el("data").textContent).then((data) => {
  el("data").remove();
  window.app = new App(data);
  document.body.dataset.readyMs = performance.now().toFixed(0);
});
