// The map: similar tracks near each other, coloured by genre. Wheel or two fingers zoom, dragging moves, a loop filters.

const COLOURS = [
  "#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#ff8ab7", "#a463f2", "#97bbf5", "#9c6b4e", "#38b2d8",
];
const OTHERS = "#8b9198";
/** The same as pixels of an image, opaque: 0xAABBGGRR. */
const INKS = [...COLOURS, OTHERS].map((text) => {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  return ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
});

class TrackMap {
  constructor(app, el) {
    this.app = app;
    this.canvas = el("canvas");
    this.button = el("lasso");
    this.view = { x: 0.5, y: 0.5, zoom: 1 };
    this.fingers = new Map();
    this.loop = null;
    this.colour = this.colours(el("legend"));
    el("reset-map").addEventListener("click", () => { this.view = { x: 0.5, y: 0.5, zoom: 1 }; this.later(); });
    this.button.addEventListener("click", () => this.arm(!this.armed));
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) {
      this.canvas.addEventListener(kind, (event) => this[kind](event));
    }
    this.canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
    }, { passive: false });
    new ResizeObserver(() => this.later()).observe(this.canvas);
  }

  /** A colour for each track: those of the ten most frequent genres, and one for the rest. */
  colours(legend) {
    const { data, genre } = this.app, often = new Map();
    for (const label of genre) if (label !== NO_TAG) often.set(label, (often.get(label) || 0) + 1);
    const top = [...often].sort((a, b) => b[1] - a[1]).slice(0, COLOURS.length).map(([label]) => label);
    const entry = (colour, text) => {
      const dot = make("i");
      dot.style.background = colour;
      return make("span", {}, dot, text);
    };
    legend.replaceChildren(...top.map((label, k) => entry(COLOURS[k], data.labels[label].name)), entry(OTHERS, "others"));
    const number = new Map(top.map((label, k) => [label, k]));
    return Uint8Array.from(genre, (label) => number.get(label) ?? COLOURS.length);
  }

  get armed() { return this.button.getAttribute("aria-pressed") === "true"; }

  arm(on) {
    this.button.setAttribute("aria-pressed", String(on));
    if (!on) { this.loop = null; this.app.lasso(null); }
  }

  later() {
    if (!this.waiting) this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.draw(); });
  }

  /** From the map's 0..1 to pixels. */
  frame() {
    const { clientWidth: w, clientHeight: h } = this.canvas, scale = Math.min(w, h) * 0.94 * this.view.zoom;
    return { w, h, scale, left: w / 2 - this.view.x * scale, top: h / 2 - this.view.y * scale };
  }

  place(i) {
    const places = this.app.data.columns.map;
    return [places[2 * i] / 65535, places[2 * i + 1] / 65535];
  }

  draw() {
    const { w, h, scale, left, top } = this.frame(), dpr = devicePixelRatio || 1, pen = this.canvas.getContext("2d");
    if (!w || !h) return;
    this.canvas.width = Math.round(w * dpr);
    this.canvas.height = Math.round(h * dpr);
    this.dots(pen, dpr);
    pen.scale(dpr, dpr);
    pen.strokeStyle = getComputedStyle(document.body).color;
    pen.lineWidth = 2;
    if (this.app.opened !== null) {
      const [x, y] = this.place(this.app.opened);
      pen.beginPath();
      pen.arc(left + x * scale, top + y * scale, 8, 0, 7);
      pen.stroke();
    }
    if (this.loop?.length) {
      pen.beginPath();
      for (const [x, y] of this.loop) pen.lineTo(left + x * scale, top + y * scale);
      pen.closePath();
      pen.stroke();
    }
  }

  /** A square per track that is left, by its pixels: a hundred thousand calls of a canvas would take a tenth of a second. */
  dots(pen, dpr) {
    const { scale, left, top } = this.frame(), { data, rows } = this.app, places = data.columns.map;
    const { width, height } = this.canvas, image = pen.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer), least = data.n > 20000 ? 1.6 : data.n > 2000 ? 3 : 6;
    const side = Math.round(dpr * Math.min(9, Math.max(least, 1.2 * Math.sqrt(this.view.zoom))));
    const step = scale * dpr / 65535, x0 = left * dpr - side / 2, y0 = top * dpr - side / 2;
    for (const others of [true, false]) { // below, so that they hide nothing
      for (const i of rows) {
        if ((this.colour[i] === COLOURS.length) !== others) continue;
        const x = Math.round(x0 + places[2 * i] * step), y = Math.round(y0 + places[2 * i + 1] * step);
        if (x < 0 || y < 0 || x + side > width || y + side > height) continue;
        const ink = INKS[this.colour[i]];
        for (let row = y; row < y + side; row++) pixels.fill(ink, row * width + x, row * width + x + side);
      }
    }
    pen.putImageData(image, 0, 0);
  }

  at(event) {
    const { scale, left, top } = this.frame();
    return [(event.offsetX - left) / scale, (event.offsetY - top) / scale];
  }

  zoom(factor, x, y) {
    const before = this.frame(), point = [(x - before.left) / before.scale, (y - before.top) / before.scale];
    this.view.zoom = Math.min(200, Math.max(0.8, this.view.zoom * factor));
    const { scale, w, h } = this.frame();
    this.view.x = point[0] - (x - w / 2) / scale;
    this.view.y = point[1] - (y - h / 2) / scale;
    this.later();
  }

  pointerdown(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
    this.moved = 0;
    this.drawing = this.fingers.size === 1 && (this.armed || event.shiftKey);
    if (this.drawing) this.loop = [this.at(event)];
  }

  pointermove(event) {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const now = [event.offsetX, event.offsetY], dx = now[0] - before[0], dy = now[1] - before[1];
    this.moved += Math.abs(dx) + Math.abs(dy);
    this.fingers.set(event.pointerId, now);
    if (this.fingers.size === 2) {
      const [other] = [...this.fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const far = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]) || 1;
      this.zoom(far(now) / far(before), other[0], other[1]);
    } else if (this.drawing) this.loop.push(this.at(event));
    else {
      const { scale } = this.frame();
      this.view.x -= dx / scale;
      this.view.y -= dy / scale;
    }
    this.later();
  }

  pointerup(event) {
    this.fingers.delete(event.pointerId);
    if (this.drawing && this.loop.length > 2) this.app.lasso(this.inside());
    else if (this.moved < 5) this.pick(event);
    this.drawing = false;
    this.later();
  }

  pointercancel(event) {
    this.fingers.delete(event.pointerId);
    this.drawing = false;
  }

  /** A byte per track: whether it lies within the loop (even-odd rule). */
  inside() {
    const { n } = this.app.data, found = new Uint8Array(n), { loop } = this;
    for (let i = 0; i < n; i++) {
      const [x, y] = this.place(i);
      for (let a = 0, b = loop.length - 1; a < loop.length; b = a++) {
        const [ax, ay] = loop[a], [bx, by] = loop[b];
        if (ay > y !== by > y && x < (bx - ax) * (y - ay) / (by - ay) + ax) found[i] ^= 1;
      }
    }
    return found;
  }

  /** Open the track that was pointed at. */
  pick(event) {
    const [x, y] = this.at(event);
    let best = -1, least = (14 / this.frame().scale) ** 2;
    for (const i of this.app.rows) {
      const [px, py] = this.place(i), gap = (px - x) ** 2 + (py - y) ** 2;
      if (gap < least) { least = gap; best = i; }
    }
    if (best >= 0) this.app.open(best);
  }
}
