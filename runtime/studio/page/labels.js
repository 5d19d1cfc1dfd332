// Label maps: run lengths on the wire, one byte for each pixel here.

export function decode(runs) {
  const labels = new Uint8Array(runs.height * runs.width);
  let at = 0;
  runs.lengths.forEach((length, i) => {
    labels.fill(runs.values[i], at, at + length);
    at += length;
  });
  return labels;
}

export function encode(labels, height, width) {
  const values = [];
  const lengths = [];
  let start = 0;
  for (let i = 1; i <= labels.length; i++) {
    if (i === labels.length || labels[i] !== labels[start]) {
      values.push(labels[start]);
      lengths.push(i - start);
      start = i;
    }
  }
  return { height, width, values, lengths };
}

// The mask of one object, 0 and 1.
export function maskOf(labels, id) {
  return labels.map((value) => (value === id ? 1 : 0));
}

// Left, top, right and bottom of an object's pixels; null where it has none.
export function boundsOf(labels, id, width) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  labels.forEach((value, i) => {
    if (value !== id) return;
    const [x, y] = [i % width, Math.floor(i / width)];
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x + 1);
    box[3] = Math.max(box[3], y + 1);
  });
  return box[2] > 0 ? box : null;
}

// Labels in which an object has a mask, and the ids whose pixels change.
export function withMask(labels, id, mask) {
  const result = labels.slice();
  const ids = new Set([id]);
  for (let i = 0; i < result.length; i++) {
    if (mask[i]) {
      if (result[i] && result[i] !== id) ids.add(result[i]);
      result[i] = id;
    } else if (result[i] === id) result[i] = 0;
  }
  return { labels: result, ids: [...ids] };
}

// Paints a round brush along a line; `onlyOver`: the one id that may be painted over, or null.
export function paintLine(labels, width, height, from, to, radius, id, onlyOver, ids) {
  const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1]) / Math.max(0.5, radius / 3)));
  const box = [width, height, 0, 0];
  for (let step = 0; step <= steps; step++) {
    const x = from[0] + ((to[0] - from[0]) * step) / steps;
    const y = from[1] + ((to[1] - from[1]) * step) / steps;
    const top = Math.max(0, Math.floor(y - radius));
    const bottom = Math.min(height - 1, Math.floor(y + radius));
    const left = Math.max(0, Math.floor(x - radius));
    const right = Math.min(width - 1, Math.floor(x + radius));
    for (let row = top; row <= bottom; row++) {
      for (let column = left; column <= right; column++) {
        const inside = Math.hypot(column + 0.5 - x, row + 0.5 - y) <= radius;
        if (!inside && !(Math.floor(x) === column && Math.floor(y) === row)) continue;
        const i = row * width + column;
        if (labels[i] === id || (onlyOver !== null && labels[i] !== onlyOver)) continue;
        if (labels[i]) ids.add(labels[i]);
        labels[i] = id;
      }
    }
    box[0] = Math.min(box[0], left);
    box[1] = Math.min(box[1], top);
    box[2] = Math.max(box[2], right + 1);
    box[3] = Math.max(box[3], bottom + 1);
  }
  return box;
}
