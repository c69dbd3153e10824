"use strict";
// The tracks of the page: words as they are, the rest in typed arrays, one value or a few per track.

const NO_TAG = 65535, DAMAGED = 1, NO_LINE = 2;
const KINDS = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, uint32: Uint32Array };

/** The page's data: {names, titles, folders, artists, albums, formats, labels, errors, timelines, columns, n, nTags}. */
async function unpack(text) {
  const packed = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const whole = await new Response(stream).arrayBuffer();
  const n = new DataView(whole).getUint32(0, true), start = 4 + n;
  const data = JSON.parse(new TextDecoder().decode(new Uint8Array(whole, 4, n)));
  for (const [name, [kind, offset, length]] of Object.entries(data.columns)) {
    data.columns[name] = new KINDS[kind](whole, start + offset, length);
  }
  data.n = data.names.length;
  data.common = commonFolder(data.folders);
  data.nTags = data.n ? data.columns.tags.length / data.n : 0;
  return data;
}

/** The folder that all of them lie in, with the slash at its end. */
function commonFolder(folders) {
  let common = folders[0] ?? "";
  for (const folder of folders) {
    while (!folder.startsWith(common)) common = common.slice(0, common.lastIndexOf("/", common.length - 2) + 1);
  }
  return common;
}

/** What is searched: each track's words in lower case, without accents. */
function searchable(data) {
  const plain = /^[\x00-\x7f]*$/;
  const fold = (text) => {
    const lower = text.toLowerCase();
    return plain.test(lower) ? lower : lower.normalize("NFKD").replace(/\p{M}/gu, "");
  };
  const folded = {};
  for (const kind of ["folders", "artists", "albums"]) folded[kind] = data[kind].map(fold);
  const { folders, artists, albums } = data.columns;
  const texts = new Array(data.n);
  for (let i = 0; i < data.n; i++) {
    const words = fold(`${data.names[i]}\n${data.titles[i]}`);
    texts[i] = `${folded.folders[folders[i]]}${words}\n${folded.artists[artists[i]]}\n${folded.albums[albums[i]]}`;
  }
  return { texts, fold };
}

const pathOf = (data, i) => data.folders[data.columns.folders[i]] + data.names[i];
const folderOf = (data, i) => data.folders[data.columns.folders[i]].slice(data.common.length);
const titleOf = (data, i) => data.titles[i] || data.names[i];
const artistOf = (data, i) => data.artists[data.columns.artists[i]];
const nameOf = (data, i) => (artistOf(data, i) ? `${artistOf(data, i)} – ${titleOf(data, i)}` : titleOf(data, i));

/** Whether the tag at a place of the columns reaches the score from which on its label is meant; less is a guess. */
const isMeant = ({ columns, labels }, k) => columns.scores[k] >= labels[columns.tags[k]].least;

/** [label, score in 0..1, whether it is meant] of a track, the best first. */
function tagsOf(data, i) {
  const { tags, scores } = data.columns, found = [];
  for (let k = i * data.nTags; k < (i + 1) * data.nTags && tags[k] !== NO_TAG; k++) {
    found.push([tags[k], scores[k] / 255, isMeant(data, k)]);
  }
  return found;
}

/** Each track's best label of a group ("genre"), NO_TAG where none is meant. */
function bestOf(data, group) {
  const found = new Uint16Array(data.n).fill(NO_TAG), { tags } = data.columns;
  const wanted = data.labels.map((label) => label.group === group);
  for (let i = 0; i < data.n; i++) {
    for (let k = i * data.nTags; k < (i + 1) * data.nTags; k++) {
      if (tags[k] !== NO_TAG && wanted[tags[k]] && isMeant(data, k)) { found[i] = tags[k]; break; }
    }
  }
  return found;
}

/** [track, cosine] of the k nearest, the nearest first: all are compared. */
function nearest(data, i, k) {
  const all = data.columns.vectors, dim = all.length / data.n, own = all.subarray(i * dim, (i + 1) * dim);
  const cosine = new Float32Array(data.n);
  let length = 0;
  for (let d = 0; d < dim; d++) length += own[d] * own[d];
  for (let j = 0, p = 0; j < data.n; j++) {
    let dot = 0, square = 0;
    for (let d = 0; d < dim; d++, p++) { dot += own[d] * all[p]; square += all[p] * all[p]; }
    cosine[j] = dot / (Math.sqrt(square * length) || 1);
  }
  const best = [];
  for (let j = 0; j < data.n; j++) {
    if (j === i || (best.length === k && cosine[j] <= best[k - 1][1])) continue;
    let at = best.length;
    while (at && best[at - 1][1] < cosine[j]) at--;
    best.splice(at, 0, [j, cosine[j]]);
    if (best.length > k) best.pop();
  }
  return best;
}

const two = (n) => String(n).padStart(2, "0");
const clock = (s) => (s < 3600
  ? `${Math.floor(s / 60)}:${two(s % 60)}`
  : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`);
const count = (n) => n.toLocaleString("en").replaceAll(",", " ");
const plural = (n, one) => `${count(n)} ${one}${n === 1 ? "" : "s"}`;

/** An element with attributes, listeners (on...) and children; strings become text, never markup. */
function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}
