// What stands beside the list: one track, an overview of those that are left, the problems, and a playlist as text.

/** [name, value, key, text] each: a line with a bar; ``pick`` is told the key of a name that was clicked. */
function bars(rows, pick) {
  const most = Math.max(1e-9, ...rows.map(([, n]) => n));
  return make("div", { class: "bars" }, ...rows.flatMap(([name, n, key, text]) => {
    const bar = make("b");
    bar.style.width = `${100 * n / most}%`;
    const label = make("button", { type: "button", title: name, onclick: () => pick(key) }, name);
    return [label, make("div", {}, bar), make("span", {}, text ?? count(n))];
  }));
}

function drawTrack(app, box, i) {
  const { data } = app, c = data.columns;
  const facts = [
    ["file", pathOf(data, i)], ["artist", artistOf(data, i)], ["album", data.albums[c.albums[i]]],
    ["length", clock(c.seconds[i])], ["format", `${data.formats[c.formats[i]]}, ${count(c.kbit_s[i])} kbit/s`],
    ["status", c.status[i] & DAMAGED ? "damaged" : ""],
  ];
  const tags = tagsOf(data, i).map(([t, score, meant]) => [data.labels[t].name, score, t, score.toFixed(2) + (meant ? "" : "?")]);
  const near = c.vectors ? nearest(data, i, 10) : [];
  const lines = near.map(([j, cosine]) => make("li", {},
    make("button", { type: "button", onclick: () => app.open(j) }, nameOf(data, j)),
    make("button", {
      type: "button", class: "out", "aria-label": "Add to the playlist or take out", onclick: () => app.toggle(j),
    }, `${Math.max(0, 1 - cosine).toFixed(2)} ${app.playlist.has(j) ? "−" : "+"}`)));
  box.replaceChildren(
    make("div", { class: "bar" }, make("strong", {}, titleOf(data, i)),
      make("button", { type: "button", onclick: () => app.toggle(i) }, app.playlist.has(i) ? "Take out" : "Add to playlist")),
    make("dl", {}, ...facts.filter(([, text]) => text).flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)])),
    make("h2", {}, "Tags"), bars(tags, (label) => app.setFilter("tag", label)),
    ...(data.timelines[i] ? drawTimeline(data.timelines[i]) : []),
    ...(near.length ? [make("h2", {}, "Nearest"), make("ol", { class: "links" }, ...lines)] : []));
}

function drawTimeline(line) {
  const when = (k) => `${clock(Math.round(line.starts[k]))}–${clock(Math.round(line.ends[k]))}`;
  const cell = (score, k) => {
    const node = make("i", { title: `${when(k)}: ${(score / 100).toFixed(2)}` });
    node.style.opacity = score / 100;
    return node;
  };
  const strip = ([name, scores]) => make("div", { class: "line" }, make("span", {}, name), make("div", {}, ...scores.map(cell)));
  return [make("h2", {}, "Over time"), ...line.tags.map(strip)];
}

/** [key, how many] of some values, the most frequent first. */
function frequent(values) {
  const often = new Map();
  for (const value of values) often.set(value, (often.get(value) || 0) + 1);
  return [...often].sort((a, b) => b[1] - a[1]);
}

function drawOverview(app, box) {
  const { data, rows } = app, c = data.columns, each = [...rows];
  const seconds = each.reduce((sum, i) => sum + c.seconds[i], 0), LONG = 15;
  const groups = Object.entries(app.best).flatMap(([group, best]) => {
    const found = frequent(each.map((i) => best[i]).filter((label) => label !== NO_TAG)).slice(0, 12);
    const lines = found.map(([label, n]) => [data.labels[label].name, n, label]);
    return lines.length ? [make("h2", {}, `Best ${group}`), bars(lines, (label) => app.setFilter("tag", label))] : [];
  });
  const minutes = frequent(each.map((i) => Math.min(LONG, Math.floor(c.seconds[i] / 60)))).sort((a, b) => a[0] - b[0]);
  const lengths = minutes.map(([m, n]) => [m === LONG ? `${LONG} min and more` : `${m}–${m + 1} min`, n, m]);
  const formats = frequent(each.map((i) => c.formats[i])).map(([format, n]) => [data.formats[format] || "unknown", n, format]);
  box.replaceChildren(make("p", {}, `${plural(rows.length, "track")}, ${count(Math.round(seconds / 360) / 10)} h`), ...groups,
    make("h2", {}, "Length"), bars(lengths, (m) => app.setFilters({ from: m, to: m === LONG ? "" : m + 1 })),
    make("h2", {}, "Format"), bars(formats, (format) => app.setFilter("format", format)));
}

const ERRORS_SHOWN = 2000;

function drawErrors(data, box) {
  if (!data.errors.length) {
    box.replaceChildren(make("p", { class: "hint" }, "Every file could be read."));
    return;
  }
  const damaged = data.columns.status.filter((bits) => bits & DAMAGED).length;
  const says = `${plural(data.errors.length, "problem")}; ${plural(damaged, "damaged file")} tagged in spite of it.`;
  const line = (kind, texts) => make("tr", {}, ...texts.map((text) => make(kind, {}, text)));
  const rows = data.errors.slice(0, ERRORS_SHOWN).map(([path, code, message]) => line("td", [code, path, message]));
  box.replaceChildren(make("p", { class: "hint" }, says), make("table", {},
    make("thead", {}, line("th", ["code", "file", "what happened"])), make("tbody", {}, ...rows)));
}

/** Extended M3U of some tracks; those whose names fit no line of text are left out and counted. */
function m3u8(data, tracks) {
  const fit = tracks.filter((i) => !(data.columns.status[i] & NO_LINE));
  const oneLine = (text) => text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, " ");
  const entries = fit.map((i) => {
    const artist = artistOf(data, i), title = data.titles[i] || data.names[i].replace(/\.[^.]*$/, "");
    const shown = oneLine(artist ? `${artist} - ${title}` : title);
    return `#EXTINF:${data.columns.seconds[i]},${shown}\n${pathOf(data, i)}\n`;
  });
  return { text: `#EXTM3U\n${entries.join("")}`, leftOut: tracks.length - fit.length };
}
