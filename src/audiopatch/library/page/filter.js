// Which tracks the filters leave, in the order asked for.

const FILTERS = ["search", "tag", "least", "format", "folder", "from", "to", "sort"];

function readFilters(el, words) {
  const minutes = (id, otherwise) => (el(id).value === "" ? otherwise : Number(el(id).value) * 60);
  return {
    words: words.fold(el("search").value).split(/\s+/).filter(Boolean),
    tag: el("tag").value === "" ? -1 : Number(el("tag").value),
    least: Math.round(Number(el("least").value) * 2.55),
    format: el("format").value === "" ? -1 : Number(el("format").value),
    folder: el("folder").value,
    from: minutes("from", 0),
    to: minutes("to", Infinity),
    sort: el("sort").value,
  };
}

/** Rows of the tracks that are left; ``inside`` (a byte per track, or null) is what the lasso holds. */
function chosenRows(data, words, wanted, inside) {
  const { seconds, formats, folders, tags, scores } = data.columns;
  const least = Math.max(wanted.least, wanted.tag >= 0 ? data.labels[wanted.tag].least : 0);
  const folder = wanted.folder ? data.folders.map((name) => name.startsWith(wanted.folder)) : null;
  const rows = new Uint32Array(data.n), score = new Uint8Array(data.n), T = data.nTags;
  let n = 0;
  track: for (let i = 0; i < data.n; i++) {
    if (inside && !inside[i]) continue;
    if (seconds[i] < wanted.from || seconds[i] > wanted.to) continue;
    if (wanted.format >= 0 && formats[i] !== wanted.format) continue;
    if (folder && !folder[folders[i]]) continue;
    if (wanted.tag >= 0) {
      const end = (i + 1) * T;
      let k = i * T;
      while (k < end && tags[k] !== wanted.tag) k++;
      if (k === end || scores[k] < least) continue;
      score[i] = scores[k];
    } else if (wanted.least && (T === 0 || scores[i * T] < wanted.least)) continue;
    for (const word of wanted.words) if (!words.texts[i].includes(word)) continue track;
    rows[n++] = i;
  }
  return sorted(data, rows.subarray(0, n), wanted.sort, score);
}

function sorted(data, rows, by, score) {
  const { seconds, artists } = data.columns;
  if (by === "long") return rows.sort((a, b) => seconds[b] - seconds[a] || a - b);
  if (by === "score") return rows.sort((a, b) => score[b] - score[a] || a - b);
  if (by === "artist") return rows.sort((a, b) => artists[a] - artists[b] || a - b);
  if (by === "name") {
    data.titleRank ??= ranks(data);
    return rows.sort((a, b) => data.titleRank[a] - data.titleRank[b]);
  }
  return rows;
}

/** Each track's place among all titles: worked out once, when first asked for. */
function ranks(data) {
  const rank = new Uint32Array(data.n), titles = Array.from(rank, (_, i) => titleOf(data, i).toLowerCase());
  const all = [...rank.keys()].sort((a, b) => (titles[a] < titles[b] ? -1 : titles[a] > titles[b] ? 1 : a - b));
  all.forEach((i, at) => { rank[i] = at; });
  return rank;
}
