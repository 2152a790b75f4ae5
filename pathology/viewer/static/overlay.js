// Probabilities over a slide: one picture with a pixel for each cell, scaled by the browser.

export const ALL = "all classes";
const RAMP = ["#2c7bb6", "#abd9e9", "#ffffbf", "#fdae61", "#d7191c"].map(rgb);
const GRADES = ["#2a7f9e", "#f2c14e", "#c8332b"].map(rgb);

function rgb(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

function between(colors, share) {
  const place = Math.min(Math.max(share, 0), 1) * (colors.length - 1);
  const low = Math.min(Math.floor(place), colors.length - 2);
  return colors[low].map((c, i) => Math.round(c + (colors[low + 1][i] - c) * (place - low)));
}

/** Color of a probability, [r, g, b]. */
export function rampColor(probability) {
  return between(RAMP, probability);
}

/** Color of a class among so many, benign first. */
export function classColor(number, numClasses) {
  return between(GRADES, numClasses > 1 ? number / (numClasses - 1) : 1);
}

export class Overlay {
  /** data: what /api/predictions says */
  constructor(data) {
    Object.assign(this, data);
    this.picture = document.createElement("canvas");
    [this.picture.width, this.picture.height] = data.lattice.size.map((n) => Math.max(1, n));
  }

  /** Number of a class by its name; the worst one for a name that is none. */
  classNumber(name) {
    const number = this.classes.indexOf(name);
    return number < 0 ? this.classes.length - 1 : number;
  }

  probability(tile, number) {
    return this.thousandths[number][tile] / 1000;
  }

  /** The most probable class of a tile. */
  likeliest(tile) {
    let best = 0;
    this.classes.forEach((_, n) => {
      if (this.thousandths[n][tile] > this.thousandths[best][tile]) best = n;
    });
    return best;
  }

  /** Paint the picture anew. Of tiles that share a cell the more probable one is shown. */
  paint(name, threshold) {
    const context = this.picture.getContext("2d");
    const image = context.createImageData(this.picture.width, this.picture.height);
    const pixels = new Uint32Array(image.data.buffer);
    this.tileOfCell = new Int32Array(pixels.length).fill(-1);
    const isAll = name === ALL;
    const number = this.classNumber(name);
    const shownOf = (tile) => (isAll ? this.likeliest(tile) : number);
    this.cells.forEach((cell, tile) => {
      const other = this.tileOfCell[cell];
      const value = this.thousandths[shownOf(tile)][tile];
      if (other < 0 || value > this.thousandths[shownOf(other)][other]) this.tileOfCell[cell] = tile;
    });
    this.tileOfCell.forEach((tile, cell) => {
      if (tile < 0) return;
      const shown = shownOf(tile);
      const value = this.probability(tile, shown);
      if (value < threshold) return;
      const color = isAll ? classColor(shown, this.classes.length) : rampColor(value);
      image.data.set([...color, isAll ? Math.round(80 + 175 * value) : 255], cell * 4);
    });
    context.putImageData(image, 0, 0);
  }

  /** The tile at a level-0 position, or -1. */
  tileAt(x, y) {
    const { l0_xy, l0_step, size } = this.lattice;
    const column = Math.floor((x - l0_xy[0]) / l0_step[0]);
    const row = Math.floor((y - l0_xy[1]) / l0_step[1]);
    if (column < 0 || row < 0 || column >= size[0] || row >= size[1]) return -1;
    return this.tileOfCell[row * size[0] + column];
  }

  /** Center of a tile in level-0 pixels. */
  center(tile) {
    return [this.l0_x[tile] + this.l0_edge / 2, this.l0_y[tile] + this.l0_edge / 2];
  }

  /** Draw on a context. toScreen turns level-0 positions into the canvas's CSS pixels. */
  draw(context, toScreen, opacity) {
    const { l0_xy, l0_step, size } = this.lattice;
    const [left, top] = toScreen(l0_xy[0], l0_xy[1]);
    const [right, bottom] = toScreen(l0_xy[0] + l0_step[0] * size[0], l0_xy[1] + l0_step[1] * size[1]);
    context.globalAlpha = opacity;
    context.imageSmoothingEnabled = false;
    context.drawImage(this.picture, left, top, right - left, bottom - top);
    context.globalAlpha = 1;
  }

  /** Draw the edge of a tile. */
  outline(context, toScreen, tile, color, width) {
    const [left, top] = toScreen(this.l0_x[tile], this.l0_y[tile]);
    const [right, bottom] = toScreen(this.l0_x[tile] + this.l0_edge, this.l0_y[tile] + this.l0_edge);
    context.lineWidth = width + 2;
    context.strokeStyle = "rgba(255, 255, 255, 0.85)";
    context.strokeRect(left, top, right - left, bottom - top);
    context.lineWidth = width;
    context.strokeStyle = color;
    context.strokeRect(left, top, right - left, bottom - top);
  }
}
