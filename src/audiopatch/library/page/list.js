// The list of tracks: only the rows in sight exist.

const ROW_PX = 48;

class List {
  constructor(app, el) {
    this.app = app;
    this.box = el("rows");
    this.space = el("space");
    this.rows = new Uint32Array(0);
    this.at = 0;
    this.box.addEventListener("scroll", () => this.draw());
    this.box.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.box);
  }

  show(rows) {
    this.rows = rows;
    this.at = 0;
    this.space.style.height = `${rows.length * ROW_PX}px`;
    this.box.scrollTop = 0;
    this.draw();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW_PX) - 3);
    const last = Math.min(this.rows.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW_PX) + 3);
    const drawn = [];
    for (let at = first; at < last; at++) drawn.push(this.row(at));
    this.space.replaceChildren(...drawn);
    if (this.rows.length) this.box.setAttribute("aria-activedescendant", `row-${this.at}`);
    else this.box.removeAttribute("aria-activedescendant");
  }

  row(at) {
    const { app } = this, { data } = app, i = this.rows[at], isIn = app.playlist.has(i);
    const best = app.genre[i] === NO_TAG ? tagsOf(data, i).find(([, , meant]) => meant)?.[0] : app.genre[i];
    const put = (event) => { event.stopPropagation(); app.toggle(i); };
    const says = isIn ? "Take out of the playlist" : "Add to the playlist";
    const node = make("div", {
      class: `row${at === this.at ? " at" : ""}${isIn ? " in" : ""}`, role: "option", id: `row-${at}`,
      "aria-selected": String(at === this.at), "aria-setsize": this.rows.length, "aria-posinset": at + 1,
      title: pathOf(data, i), onclick: () => { this.at = at; app.open(i); this.draw(); },
    },
    make("span", {}, titleOf(data, i)), make("span", { class: "time" }, clock(data.columns.seconds[i])),
    make("button", { type: "button", tabindex: "-1", "aria-label": says, onclick: put }, isIn ? "−" : "+"),
    make("span", { class: "who" }, artistOf(data, i) || folderOf(data, i)),
    make("span", { class: "tag" }, best === undefined ? "" : data.labels[best].name));
    node.style.top = `${at * ROW_PX}px`;
    return node;
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW_PX) - 1), end = Math.max(0, this.rows.length - 1);
    const moves = {
      ArrowDown: this.at + 1, ArrowUp: this.at - 1, PageDown: this.at + page, PageUp: this.at - page, Home: 0, End: end,
    };
    if (event.key in moves) {
      this.at = Math.min(Math.max(0, moves[event.key]), end);
      const top = this.at * ROW_PX, bottom = top + ROW_PX - this.box.clientHeight;
      if (this.box.scrollTop > top) this.box.scrollTop = top;
      if (this.box.scrollTop < bottom) this.box.scrollTop = bottom;
      this.draw();
    } else if (event.key === "Enter" && this.rows.length) this.app.open(this.rows[this.at]);
    else if ((event.key === "a" || event.key === " ") && this.rows.length) this.app.toggle(this.rows[this.at]);
    else return;
    event.preventDefault();
  }
}
