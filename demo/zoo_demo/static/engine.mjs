// Decodes latents in the browser. A plan, which graph.py writes, says which operations; a buffer holds the weights.
//
// A value is {shape, data}: numbers in C order. Value 0 is the input (1, n): the latent's numbers, then for a plan with
// K classes the K + 1 numbers of a one-hot class, the last of which means unknown. Then come the plan's constants, then
// what each step gives. Arithmetic is in double precision, which is faster here than single: nothing is converted.

const LARGEST_ERROR = 1 / 255; // of a pixel, against PyTorch's
const LARGEST_VALUE = 2 ** 24; // numbers

/** Fetch a plan and its weights, and make their decoder; throws where either cannot be had or is not sound. */
export async function loadDecoder(planUrl, weightsUrl) {
  const [plan, weights] = await Promise.all([fetchOk(planUrl), fetchOk(weightsUrl)]);
  return makeDecoder(await plan.json(), await weights.arrayBuffer());
}

/**
 * Make the decoder {latentShape, classes, imageShape: [C, H, W], decode} of a plan and its weights, an ArrayBuffer.
 *
 * decode(latents: Float32Array(k·d), label) gives a new Float32Array(k·C·H·W); d is the product of latentShape, and
 * the label of all latents is 0 to `classes`, which means unknown and is the default. Throws where the plan or the
 * weights are not sound, or where the plan's reference inputs give other pixels than they gave PyTorch.
 */
export function makeDecoder(plan, weights) {
  check(plan?.format === 2, `format ${plan?.format} of the plan is not 2`);
  check(weights.byteLength === plan.bytes, `${weights.byteLength} bytes of weights, not ${plan.bytes}`);
  const { latent_shape: latentShape, classes, image_shape: imageShape } = plan;
  check(Number.isInteger(classes) && classes >= 0, `${classes} classes`);
  const latentSize = sizeOf(latentShape);
  const input = newValue([1, latentSize + (classes && classes + 1)]);
  const values = [input, ...plan.constants.map((constant) => readConstant(constant, weights))];
  const runs = [];
  for (const [number, { operation, inputs, shape, options }] of plan.steps.entries()) {
    check(Object.hasOwn(OPERATIONS, operation), `step ${number}: unknown operation ${operation}`);
    const known = inputs.every((number) => Number.isInteger(number) && number in values);
    check(known, `step ${number}: an input that is not there yet`);
    const output = newValue(shape);
    try {
      const step = OPERATIONS[operation](inputs.map((number) => values[number]), output, options);
      if (step) runs.push(step);
    } catch (error) {
      throw new Error(`step ${number}, ${operation}: ${error.message}`, { cause: error });
    }
    values.push(output);
  }
  const image = values[plan.output];
  check(String(image?.shape) === String([1, ...imageShape]), `images have shape ${imageShape}, not ${image?.shape}`);

  /** Pixels of `count` inputs; `fill` writes the i-th. */
  function run(count, fill) {
    const images = new Float32Array(count * image.data.length);
    for (let i = 0; i < count; i++) {
      fill(input.data, i);
      for (const step of runs) step();
      images.set(image.data, i * image.data.length);
    }
    return images;
  }

  function decode(latents, label = classes) {
    const count = latents.length / latentSize;
    check(latents instanceof Float32Array && Number.isInteger(count), `latents are a Float32Array of k·${latentSize}`);
    check(latents.every(Number.isFinite), "latents are finite numbers");
    check(Number.isInteger(label) && label >= 0 && label <= classes, `a label is 0 to ${classes}`);
    return run(count, (data, i) => {
      for (let j = 0; j < latentSize; j++) data[j] = latents[i * latentSize + j];
      for (let j = latentSize; j < data.length; j++) data[j] = j === latentSize + label ? 1 : 0;
    });
  }

  const [inputs, expected] = plan.reference.map((number) => values[number].data);
  const size = input.data.length;
  const pixels = run(Math.floor(inputs.length / size), (data, i) => data.set(inputs.subarray(i * size, (i + 1) * size)));
  check(pixels.length === expected.length, `${pixels.length} reference pixels, not ${expected.length}`);
  const error = pixels.reduce((worst, pixel, i) => Math.max(worst, Math.abs(pixel - expected[i])), 0);
  check(error <= LARGEST_ERROR, `a pixel differs by ${error} from PyTorch's`); // so does NaN
  return { latentShape, classes, imageShape, decode };
}

async function fetchOk(url) {
  const response = await fetch(url);
  check(response.ok, `${url}: HTTP ${response.status}`);
  return response;
}

function check(holds, message) {
  if (!holds) throw new Error(message);
}

function sizeOf(shape) {
  const size = shape.reduce((product, side) => product * side, 1);
  check(shape.every((side) => Number.isInteger(side) && side > 0) && size <= LARGEST_VALUE, `bad shape ${shape}`);
  return size;
}

function newValue(shape) {
  return { shape, data: new Float64Array(sizeOf(shape)) };
}

function readConstant({ type, offset, shape }, weights) {
  const size = sizeOf(shape);
  const inside = Number.isInteger(offset / 4) && offset >= 0 && offset + 4 * size <= weights.byteLength;
  check(inside, `a constant of shape ${shape} at byte ${offset} is not inside the weights`);
  if (type === "int32") return { shape, data: new Int32Array(weights, offset, size) };
  check(type === "float32", `a constant of type ${type}`);
  return { shape, data: Float64Array.from(new Float32Array(weights, offset, size)) };
}

// Each operation checks its inputs, its output and its options, and gives a function that fills the output.

const OPERATIONS = {
  /** The same numbers in another shape: there is nothing to do. */
  reshape([input], output) {
    check(input.data.length === output.data.length, `${input.shape} does not become ${output.shape}`);
    output.data = input.data;
  },

  /** Numbers picked by their index, and 0 for −1: all that only moves numbers, such as a transposition. */
  take([{ data }, { data: index }], { data: out }) {
    check(index instanceof Int32Array && index.length === out.length, `an index for each of ${out.length} numbers`);
    check(index.every((i) => i >= -1 && i < data.length), `indices are −1 to ${data.length - 1}`);
    return () => {
      for (let i = 0; i < out.length; i++) out[i] = index[i] < 0 ? 0 : data[index[i]];
    };
  },

  /** The numbers of the first input, then those of the second, and so on. */
  concatenate(inputs, { data: out }) {
    let end = 0;
    const starts = inputs.map(({ data }) => (end += data.length) - data.length);
    check(end === out.length, `${end} numbers, not ${out.length}`);
    return () => inputs.forEach(({ data }, i) => out.set(data, starts[i]));
  },

  /** (batches, n, k) and (batches, m, k) → (batches, n, m): the products of the rows of one with those of the other. */
  matmul([left, right], output) {
    const [batches, n, k] = left.shape;
    const m = right.shape[1];
    check(String(right.shape) === String([batches, m, k]), `${left.shape} and ${right.shape} do not fit`);
    check(String(output.shape) === String([batches, n, m]), `the output has shape ${output.shape}`);
    const pairs = Array.from({ length: batches }, (_, i) => [
      right.data.subarray(i * m * k, (i + 1) * m * k),
      left.data.subarray(i * n * k, (i + 1) * n * k),
    ]);
    const bias = new Float64Array(n);
    return () => pairs.forEach(([a, b], i) => product(a, m, b, n, k, bias, output.data, i * n * m, 1, m));
  },

  convolution,

  /** (planes, H, W) → (planes, H', W') by linear interpolation at `rows` (H') and `columns` (W'), in pixels. */
  interpolate([image, rows, columns], output) {
    const [planes, height, width] = image.shape;
    const [y, x] = [neighbours(rows.data, height), neighbours(columns.data, width)];
    const outShape = [planes, y.share.length, x.share.length];
    check(String(output.shape) === String(outShape), `the output has shape ${output.shape}`);
    const { data } = image;
    return () => {
      let o = 0;
      for (let plane = 0; plane < planes; plane++) {
        for (let i = 0; i < y.share.length; i++) {
          const top = (plane * height + y.before[i]) * width;
          const bottom = (plane * height + y.after[i]) * width;
          for (let j = 0; j < x.share.length; j++) {
            const [left, right, share] = [x.before[j], x.after[j], x.share[j]];
            const above = data[top + left] + share * (data[top + right] - data[top + left]);
            const below = data[bottom + left] + share * (data[bottom + right] - data[bottom + left]);
            output.data[o++] = above + y.share[i] * (below - above);
          }
        }
      }
    };
  },
};

// Of each number, or of each pair of numbers, with the names and the options of PyTorch's operations.
const ELEMENTWISE = {
  add: ({ alpha = 1 }) => (x, y) => x + alpha * y,
  sub: ({ alpha = 1 }) => (x, y) => x - alpha * y,
  rsub: ({ alpha = 1 }) => (x, y) => y - alpha * x,
  mul: () => (x, y) => x * y,
  div: () => (x, y) => x / y,
  pow: () => Math.pow,
  maximum: () => (x, y) => Math.max(x, y),
  minimum: () => (x, y) => Math.min(x, y),
  neg: () => (x) => -x,
  abs: () => Math.abs,
  reciprocal: () => (x) => 1 / x,
  sqrt: () => Math.sqrt,
  rsqrt: () => (x) => 1 / Math.sqrt(x),
  exp: () => Math.exp,
  log: () => Math.log,
  sin: () => Math.sin,
  cos: () => Math.cos,
  erf: () => erf,
  tanh: () => Math.tanh,
  sigmoid: () => sigmoid,
  relu: () => (x) => Math.max(x, 0),
  clamp: ({ min, max }) => (x) => Math.min(Math.max(x, min ?? -Infinity), max ?? Infinity),
  hardtanh: ({ min_val, max_val }) => (x) => Math.min(Math.max(x, min_val), max_val),
  hardsigmoid: () => hardsigmoid,
  hardswish: () => (x) => x * hardsigmoid(x),
  leaky_relu: ({ negative_slope }) => (x) => (x < 0 ? negative_slope * x : x),
  prelu: () => (x, slope) => (x < 0 ? slope * x : x),
  elu: ({ alpha, scale, input_scale }) => (x) => scale * (x < 0 ? alpha * Math.expm1(input_scale * x) : x),
  celu: ({ alpha }) => (x) => (x < 0 ? alpha * Math.expm1(x / alpha) : x),
  silu: () => (x) => x * sigmoid(x),
  mish: () => (x) => x * Math.tanh(softplus(x)),
  softplus: ({ beta, threshold }) => (x) => (beta * x > threshold ? x : softplus(beta * x) / beta),
  gelu: ({ approximate }) =>
    approximate === "tanh"
      ? (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
      : (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)),
};

for (const [name, make] of Object.entries(ELEMENTWISE)) {
  OPERATIONS[name] = (inputs, { shape, data: out }, options) => {
    const f = make(options);
    check(inputs.length === f.length, `${inputs.length} inputs, not ${f.length}`);
    const [x, y] = inputs.map(({ data }) => data);
    if (inputs.length === 1) {
      check(x.length === out.length, `${inputs[0].shape} does not become ${shape}`);
      return () => {
        for (let i = 0; i < out.length; i++) out[i] = f(x[i]);
      };
    }
    const [xs, ys] = inputs.map((input) => broadcast(input.shape, shape));
    return () => {
      for (let i = 0; i < out.length; i++) out[i] = f(x[xs[i]], y[ys[i]]);
    };
  };
}

// Of each row of (rows, length): one number, or as many as before.
const ROWWISE = {
  sum: () => (row, out) => (out[0] = sum(row)),
  mean: () => (row, out) => (out[0] = sum(row) / row.length),
  amax: () => (row, out) => (out[0] = largest(row)),
  softmax: () => (row, out) => {
    const most = largest(row);
    for (let i = 0; i < row.length; i++) out[i] = Math.exp(row[i] - most);
    const total = sum(out);
    for (let i = 0; i < row.length; i++) out[i] /= total;
  },
  normalise: ({ epsilon }) => (row, out) => {
    const mean = sum(row) / row.length;
    let variance = 0;
    for (let i = 0; i < row.length; i++) variance += (row[i] - mean) ** 2 / row.length;
    const scale = 1 / Math.sqrt(variance + epsilon);
    for (let i = 0; i < row.length; i++) out[i] = (row[i] - mean) * scale;
  },
};

for (const [name, make] of Object.entries(ROWWISE)) {
  OPERATIONS[name] = ([{ shape, data }], output, options) => {
    const f = make(options);
    const [rows, length] = shape;
    const width = output.shape[1];
    check(shape.length === 2 && output.shape[0] === rows && [1, length].includes(width), `${shape} → ${output.shape}`);
    const pairs = Array.from({ length: rows }, (_, i) => [
      data.subarray(i * length, (i + 1) * length),
      output.data.subarray(i * width, (i + 1) * width),
    ]);
    return () => {
      for (const [row, out] of pairs) f(row, out);
    };
  };
}

/**
 * (N, C, H, W) → (N, C', H', W'), transposed or not, the weight in PyTorch's order, the size that of the output.
 *
 * Each output is gathered from the inputs that it depends on. In a transposed convolution of stride s those that are
 * s apart share their weights and the places of their inputs; so it is s·s ordinary convolutions, here called parts.
 */
function convolution([image, weight, bias], output, { stride, padding, dilation, groups, transposed }) {
  const [count, channels, height, width] = image.shape;
  const [outCount, outChannels, outHeight, outWidth] = output.shape;
  const [inGroup, outGroup] = [channels / groups, outChannels / groups];
  const [kernelHeight, kernelWidth] = weight.shape.slice(2);
  const outer = transposed ? [channels, outGroup] : [outChannels, inGroup];
  check(outCount === count && Number.isInteger(inGroup) && Number.isInteger(outGroup), `${groups} groups do not fit`);
  check(String(weight.shape) === String([...outer, kernelHeight, kernelWidth]), `the weight has shape ${weight.shape}`);
  check(bias.data.length === outChannels, `the bias has shape ${bias.shape}`);

  const vertical = phases(height, kernelHeight, outHeight, stride[0], padding[0], dilation[0], transposed);
  const horizontal = phases(width, kernelWidth, outWidth, stride[1], padding[1], dilation[1], transposed);
  const pitch = horizontal.size;
  const plane = vertical.size * pitch;
  const padded = newValue([channels, vertical.size, pitch]).data; // the image with zeros around it
  const parts = [];
  for (let group = 0; group < groups; group++) {
    for (const y of vertical.phases) for (const x of horizontal.phases) parts.push(newPart(group, y, x));
  }

  function newPart(group, y, x) {
    const taps = []; // where a weight is, and the place in the padded image that the first output multiplies it with
    for (let input = 0; input < inGroup; input++) {
      for (const v of y.taps) {
        for (const h of x.taps) {
          const place = (group * inGroup + input) * plane + v.place * pitch + h.place;
          taps.push({ input, tap: v.tap * kernelWidth + h.tap, place });
        }
      }
    }
    const matrix = new Float64Array(outGroup * taps.length);
    for (let out = 0, i = 0; out < outGroup; out++) {
      for (const { input, tap } of taps) {
        const [from, to] = [group * inGroup + input, group * outGroup + out];
        const pair = transposed ? from * outGroup + out : to * inGroup + input;
        matrix[i++] = weight.data[pair * kernelHeight * kernelWidth + tap];
      }
    }
    return {
      y,
      x,
      matrix,
      places: Int32Array.from(taps, ({ place }) => place),
      gathered: new Float64Array(x.count * taps.length),
      bias: bias.data.slice(group * outGroup, (group + 1) * outGroup),
      start: group * outGroup * outHeight * outWidth,
    };
  }

  function pad(number) {
    for (let channel = 0; channel < channels; channel++) {
      for (let row = 0; row < height; row++) {
        const from = ((number * channels + channel) * height + row) * width;
        const to = channel * plane + (vertical.before + row) * pitch + horizontal.before;
        for (let column = 0; column < width; column++) padded[to + column] = image.data[from + column];
      }
    }
  }

  const outPlane = outHeight * outWidth;
  return () => {
    for (let number = 0; number < count; number++) {
      pad(number);
      for (const { y, x, places, gathered, matrix, bias, start } of parts) {
        for (let row = 0; row < y.count; row++) {
          for (let column = 0, i = 0; column < x.count; column++) {
            const corner = row * y.advance * pitch + column * x.advance;
            for (let k = 0; k < places.length; k++) gathered[i++] = padded[corner + places[k]];
          }
          const first = number * outChannels * outPlane + start + (y.first + row * y.every) * outWidth + x.first;
          product(gathered, x.count, matrix, outGroup, places.length, bias, output.data, first, x.every, outPlane);
        }
      }
    }
  };
}

/**
 * One axis of a convolution: outputs `first`, `first + every`, … (`count` of them) depend on the padded inputs
 * `place + advance · 0`, `· 1`, … through the kernel's tap `tap`. `before` zeros precede the input, `size` is the sum.
 */
function phases(length, kernel, outLength, stride, padding, dilation, transposed) {
  const whole = [length, kernel, outLength, stride, dilation].every((n) => Number.isInteger(n) && n > 0);
  check(whole && Number.isInteger(padding), "stride, padding and dilation are whole numbers");
  const [every, advance] = transposed ? [stride, 1] : [1, stride];
  const phases = [];
  for (let first = 0; first < Math.min(every, outLength); first++) {
    const taps = [];
    for (let tap = 0; tap < kernel; tap++) {
      const place = transposed ? (first + padding - tap * dilation) / stride : tap * dilation - padding;
      if (Number.isInteger(place)) taps.push({ tap, place });
    }
    phases.push({ first, every, advance, count: Math.ceil((outLength - first) / every), taps });
  }
  const taps = phases.flatMap((phase) => phase.taps);
  const before = Math.max(0, ...taps.map(({ place }) => -place));
  const last = phases.flatMap(({ taps, count }) => taps.map(({ place }) => place + (count - 1) * advance));
  for (const tap of taps) tap.place += before;
  return { phases, before, size: before + Math.max(length, ...last.map((place) => place + 1)) };
}

/**
 * out[start + i·rowStep + j·columnStep] = a[i] · b[j] + bias[j], for rows of a (rows, length) and of b (columns, length).
 *
 * Four by two at a time, so that a number that was loaded is used again; the last ones are repeated to fill up.
 */
function product(a, rows, b, columns, length, bias, out, start, rowStep, columnStep) {
  for (let i = 0; i < rows; i += 4) {
    const i1 = Math.min(i + 1, rows - 1);
    const i2 = Math.min(i + 2, rows - 1);
    const i3 = Math.min(i + 3, rows - 1);
    const [a0, a1, a2, a3] = [i * length, i1 * length, i2 * length, i3 * length];
    for (let j = 0; j < columns; j += 2) {
      const j1 = Math.min(j + 1, columns - 1);
      const [b0, b1] = [j * length, j1 * length];
      let [s00, s10, s20, s30] = [bias[j], bias[j], bias[j], bias[j]];
      let [s01, s11, s21, s31] = [bias[j1], bias[j1], bias[j1], bias[j1]];
      for (let k = 0; k < length; k++) {
        const y0 = b[b0 + k];
        const y1 = b[b1 + k];
        const x0 = a[a0 + k];
        s00 += x0 * y0;
        s01 += x0 * y1;
        const x1 = a[a1 + k];
        s10 += x1 * y0;
        s11 += x1 * y1;
        const x2 = a[a2 + k];
        s20 += x2 * y0;
        s21 += x2 * y1;
        const x3 = a[a3 + k];
        s30 += x3 * y0;
        s31 += x3 * y1;
      }
      const o0 = start + j * columnStep;
      const o1 = start + j1 * columnStep;
      out[o0 + i * rowStep] = s00;
      out[o0 + i1 * rowStep] = s10;
      out[o0 + i2 * rowStep] = s20;
      out[o0 + i3 * rowStep] = s30;
      out[o1 + i * rowStep] = s01;
      out[o1 + i1 * rowStep] = s11;
      out[o1 + i2 * rowStep] = s21;
      out[o1 + i3 * rowStep] = s31;
    }
  }
}

/** For each number of an output shape, the index of the number that is broadcast to it. */
function broadcast(shape, outShape) {
  const index = new Int32Array(sizeOf(outShape));
  const missing = outShape.length - shape.length;
  for (let i = 0; i < index.length; i++) {
    for (let axis = outShape.length - 1, rest = i, step = 1; axis >= missing; axis--) {
      const side = shape[axis - missing];
      if (side > 1) index[i] += (rest % outShape[axis]) * step;
      rest = Math.floor(rest / outShape[axis]);
      step *= side;
    }
  }
  check(shape.every((side, i) => side === 1 || side === outShape[missing + i]), `${shape} does not become ${outShape}`);
  return index;
}

/** For each position, the places before and after it, and the share of the latter. */
function neighbours(positions, length) {
  check(positions.every((position) => position >= 0 && position <= length - 1), "a position is outside the image");
  const before = Int32Array.from(positions, Math.floor);
  const after = before.map((place) => Math.min(place + 1, length - 1));
  return { before, after, share: positions.map((position, i) => position - before[i]) };
}

function sum(row) {
  let total = 0;
  for (let i = 0; i < row.length; i++) total += row[i];
  return total;
}

function largest(row) {
  let most = row[0];
  for (let i = 1; i < row.length; i++) most = Math.max(most, row[i]);
  return most;
}

function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

function softplus(x) {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

function hardsigmoid(x) {
  return Math.min(Math.max(x / 6 + 0.5, 0), 1);
}

/** Good to 1.5e-7: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26. */
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
}
