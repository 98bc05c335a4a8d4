// A surface that turns under the pointer. The data stand in the element "data"; nothing is fetched.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const stage = document.querySelector(".stage");
  const [solid, over] = stage.querySelectorAll("canvas");
  const tip = stage.querySelector(".tip");

  const floats = (text) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    return new Float32Array(bytes.buffer);
  };
  const { x, y, half } = data;
  const heights = floats(data.heights), losses = floats(data.losses);
  const nx = x.length, ny = y.length, [floor, roof] = [-half[2], half[2]];

  // What is seen: the camera's direction in degrees, and how much larger than at first.
  const start = { azimuth: data.azimuth, elevation: data.elevation, zoom: 1 };
  let camera = { ...start };
  let hover = null;
  let view, distance, scale, centre;

  // --- Projection, as in the static pictures: x right, y up, z towards the viewer.
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  function look() {
    const [a, e] = [camera.azimuth, camera.elevation].map((angle) => angle * Math.PI / 180);
    // From higher up the camera stands farther off; no perspective is an infinite distance.
    distance = data.perspective ? data.distance / Math.max(data.leastSlant, Math.cos(e)) : Infinity;
    view = {
      right: [-Math.sin(a), Math.cos(a), 0],
      up: [-Math.sin(e) * Math.cos(a), -Math.sin(e) * Math.sin(a), Math.cos(e)],
      toward: [Math.cos(e) * Math.cos(a), Math.cos(e) * Math.sin(a), Math.sin(e)],
    };
  }
  function project(place) {
    const depth = dot(place, view.toward);
    const size = scale / (1 - depth / distance);
    return [centre[0] + dot(place, view.right) * size, centre[1] - dot(place, view.up) * size];
  }

  // --- The mesh: places, normals, and the two triangles of each cell whose corners are all known.
  const gl = solid.getContext("webgl2", { antialias: true, alpha: false });
  if (!gl) {
    stage.textContent = "This browser offers no WebGL 2, which the surface needs; draw it as SVG or PNG instead.";
    return;
  }
  const compile = (vertex, fragment) => {
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, "#version 300 es\nprecision highp float;\n" + source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    return { program, at: (name) => gl.getUniformLocation(program, name) };
  };
  const PROJECT = `
    uniform vec3 right, up, toward; uniform vec2 scale, centre; uniform float distance;
    vec4 project(vec3 place) {
      float depth = dot(place, toward);
      float w = distance > 0.0 ? (distance - depth) / distance : 1.0;
      vec2 at = vec2(dot(place, right), dot(place, up)) * scale;
      return vec4(at + centre * w, -depth / 6.0 * w, w);
    }`;
  const shaded = compile(`
    in vec3 place; in vec3 normal; out float height; out vec3 lit; ${PROJECT}
    void main() { height = place.z; lit = normal; gl_Position = project(place); }`, `
    in float height; in vec3 lit; out vec4 color;
    uniform sampler2D map; uniform vec3 right, up, toward; uniform vec2 range;
    void main() {
      vec3 seen = normalize(vec3(dot(lit, right), dot(lit, up), dot(lit, toward)));
      float light = max(0.0, sign(seen.z) * dot(seen, vec3(-0.45, 0.65, 0.61)));
      float share = clamp((height - range.x) / (range.y - range.x), 0.0, 1.0);
      color = vec4(texture(map, vec2(share * 255.0 / 256.0 + 0.5 / 256.0, 0.5)).rgb * (0.62 + 0.38 * light), 1.0);
    }`);
  const plain = compile(`in vec3 place; ${PROJECT} void main() { gl_Position = project(place); }`,
    "uniform vec3 paint; out vec4 color; void main() { color = vec4(paint, 1.0); }");

  const known = (column, row) =>
    column >= 0 && row >= 0 && column < nx && row < ny && !isNaN(heights[row * nx + column]);
  const slope = (at, before, after, a, b) => before === after ? 0 : (b - a) / (at[after] - at[before]);
  const places = new Float32Array(3 * nx * ny), normals = new Float32Array(3 * nx * ny);
  for (let row = 0; row < ny; row++) {
    for (let column = 0; column < nx; column++) {
      const idx = row * nx + column;
      const left = known(column - 1, row) ? column - 1 : column, right = known(column + 1, row) ? column + 1 : column;
      const low = known(column, row - 1) ? row - 1 : row, high = known(column, row + 1) ? row + 1 : row;
      places.set([x[column], y[row], known(column, row) ? heights[idx] : 0], 3 * idx);
      normals.set([-slope(x, left, right, heights[row * nx + left], heights[row * nx + right]),
        -slope(y, low, high, heights[low * nx + column], heights[high * nx + column]), 1], 3 * idx);
    }
  }
  const triangles = new Uint32Array(6 * (nx - 1) * (ny - 1));
  let nTriangles = 0;
  for (let row = 0; row + 1 < ny; row++) {
    for (let column = 0; column + 1 < nx; column++) {
      const a = row * nx + column, d = a + nx;
      if (!isNaN(heights[a] + heights[a + 1] + heights[d] + heights[d + 1])) {
        triangles.set([a, a + 1, d + 1, a, d + 1, d], nTriangles);
        nTriangles += 6;
      }
    }
  }
  const buffer = (content, target = gl.ARRAY_BUFFER) => {
    const made = gl.createBuffer();
    gl.bindBuffer(target, made);
    gl.bufferData(target, content, gl.STATIC_DRAW);
    return made;
  };
  const meshArray = gl.createVertexArray();
  gl.bindVertexArray(meshArray);
  for (const [name, content] of [["place", places], ["normal", normals]]) {
    buffer(content);
    const at = gl.getAttribLocation(shaded.program, name);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, 3, gl.FLOAT, false, 0, 0);
  }
  buffer(triangles.subarray(0, nTriangles), gl.ELEMENT_ARRAY_BUFFER);
  gl.bindVertexArray(null);
  const linesArray = gl.createVertexArray(), linesBuffer = gl.createBuffer();
  gl.bindVertexArray(linesArray);
  gl.bindBuffer(gl.ARRAY_BUFFER, linesBuffer);
  const placeAt = gl.getAttribLocation(plain.program, "place");
  gl.enableVertexAttribArray(placeAt);
  gl.vertexAttribPointer(placeAt, 3, gl.FLOAT, false, 0, 0);
  gl.bindVertexArray(null);
  const rgb = (color) => [1, 3, 5].map((from) => parseInt(color.slice(from, from + 2), 16) / 255);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  const texels = new Uint8Array(data.map.flatMap((color) => [...rgb(color).map((value) => 255 * value), 255]));
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, texels);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  const contours = data.contours.map(({ color, line }) => {
    const ends = [];
    for (let idx = 0; idx < line.length; idx += 2) ends.push(line[idx], line[idx + 1], floor);
    return { color, ends: new Float32Array(ends) };
  });

  // --- Drawing.
  function resize() {
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [solid, over]) {
      canvas.width = Math.max(1, Math.round(stage.clientWidth * ratio));
      canvas.height = Math.max(1, Math.round(stage.clientHeight * ratio));
    }
    draw();
  }
  function drawLines(ends, color, mode) {
    gl.bufferData(gl.ARRAY_BUFFER, ends instanceof Float32Array ? ends : new Float32Array(ends), gl.DYNAMIC_DRAW);
    gl.uniform3fv(plain.at("paint"), rgb(color));
    gl.drawArrays(mode, 0, ends.length / 3);
  }
  function setView({ at }) {
    const [width, height] = [stage.clientWidth, stage.clientHeight];
    for (const axis of ["right", "up", "toward"]) gl.uniform3fv(at(axis), view[axis]);
    gl.uniform2f(at("scale"), 2 * scale / width, 2 * scale / height);
    gl.uniform2f(at("centre"), 2 * centre[0] / width - 1, 1 - 2 * centre[1] / height);
    gl.uniform1f(at("distance"), data.perspective ? distance : 0);
  }
  function draw() {
    look();
    const [width, height] = [stage.clientWidth, stage.clientHeight];
    // The box has a radius below 1.6 whichever way it is turned.
    scale = camera.zoom * Math.min((width - 190) / 3.3, (height - 60) / 2.75);
    centre = [(width - 70) / 2, height * 0.47];
    const front = [0, 1].map((axis) => view.toward[axis] >= 0 ? half[axis] : -half[axis]);
    const back = front.map((side) => -side);
    const [x0, x1, y0, y1] = [-half[0], half[0], -half[1], half[1]];

    gl.viewport(0, 0, solid.width, solid.height);
    gl.clearColor(...rgb(data.paper), 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.depthFunc(gl.LEQUAL);
    gl.useProgram(plain.program);
    gl.bindVertexArray(linesArray);
    gl.bindBuffer(gl.ARRAY_BUFFER, linesBuffer);
    setView(plain);
    // Walls, grid and contours are behind all else, so they are not tested against each other.
    gl.depthMask(false);
    gl.disable(gl.DEPTH_TEST);
    const wall = (a, b, c, d) => {
      drawLines([...a, ...b, ...c, ...a, ...c, ...d], data.wall, gl.TRIANGLES);
    };
    wall([x0, y0, floor], [x1, y0, floor], [x1, y1, floor], [x0, y1, floor]);
    wall([back[0], y0, floor], [back[0], y1, floor], [back[0], y1, roof], [back[0], y0, roof]);
    wall([x0, back[1], floor], [x1, back[1], floor], [x1, back[1], roof], [x0, back[1], roof]);
    const grid = [];
    const rule = (a, b, c) => grid.push(...a, ...b, ...b, ...c);
    for (const [at] of data.xTicks) rule([at, front[1], floor], [at, back[1], floor], [at, back[1], roof]);
    for (const [at] of data.yTicks) rule([front[0], at, floor], [back[0], at, floor], [back[0], at, roof]);
    for (const [at] of data.zTicks) rule([front[0], back[1], at], [back[0], back[1], at], [back[0], front[1], at]);
    drawLines(grid, data.faint, gl.LINES);
    for (const { color, ends } of contours) drawLines(ends, color, gl.LINE_STRIP);
    const edge = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]].flatMap((corner) => [...corner, floor]);
    drawLines(edge, data.quiet, gl.LINE_STRIP);
    gl.depthMask(true);
    gl.enable(gl.DEPTH_TEST);
    gl.useProgram(shaded.program);
    setView(shaded);
    gl.uniform2fv(shaded.at("range"), data.range);
    gl.bindVertexArray(meshArray);
    gl.drawElements(gl.TRIANGLES, nTriangles, gl.UNSIGNED_INT, 0);
    gl.bindVertexArray(null);
    drawOver(front, back);
  }

  // --- Axes, colour bar and the mark under the pointer, in the canvas above.
  function drawOver(front, back) {
    const pen = over.getContext("2d");
    const ratio = window.devicePixelRatio || 1;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, stage.clientWidth, stage.clientHeight);
    pen.font = "12.5px 'Liberation Sans', Arial, Helvetica, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const [middle, corner] = [project([0, 0, floor]), project([front[0], front[1], floor])];
    // The vertical axis stands at the left, unless the axis of the floor that ends there runs upwards too.
    const uprights = [[front[0], back[1]], [back[0], front[1]]].map((at) => {
      const foot = project([...at, floor]);
      const [across, along] = [foot[0] - corner[0], foot[1] - corner[1]];
      return { at, left: foot[0], isSteep: Math.abs(across) < 0.3 * Math.hypot(across, along) };
    });
    uprights.sort((a, b) => a.isSteep - b.isSteep || a.left - b.left);
    drawAxis(pen, middle, corner, data.xTicks, data.xLabel, (at) => [at, front[1], floor], half[0]);
    drawAxis(pen, middle, corner, data.yTicks, data.yLabel, (at) => [front[0], at, floor], half[1]);
    drawAxis(pen, middle, null, data.zTicks, data.zLabel, (at) => [...uprights[0].at, at], half[2]);
    drawBar(pen);
    if (hover) {
      const [px, py] = project(hover.place);
      pen.beginPath();
      pen.arc(px, py, 4, 0, 2 * Math.PI);
      pen.fillStyle = data.ink;
      pen.strokeStyle = data.paper;
      pen.fill();
      pen.stroke();
    }
  }
  // Text with a seam, so that it can be read before the surface too.
  function write(pen, text, left, top) {
    pen.save();
    pen.strokeStyle = data.paper;
    pen.lineWidth = 3.5;
    pen.lineJoin = "round";
    pen.strokeText(text, left, top);
    pen.restore();
    pen.fillText(text, left, top);
  }
  function drawAxis(pen, middle, corner, ticks, label, place, reach) {
    const [from, to] = [project(place(-reach)), project(place(reach))];
    const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
    pen.strokeStyle = pen.fillStyle = data.ink;
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(...to);
    pen.stroke();
    if (length < 40) return;
    let [cos, sin] = [(to[0] - from[0]) / length, (to[1] - from[1]) / length];
    const centre = [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2];
    const isOut = (centre[0] - middle[0]) * -sin + (centre[1] - middle[1]) * cos >= 0;
    const out = isOut ? [-sin, cos] : [sin, -cos];
    let widest = 0, last = null;
    for (const [at, text] of ticks) {
      const foot = project(place(at));
      const width = pen.measureText(text).width;
      pen.beginPath();
      pen.moveTo(...foot);
      pen.lineTo(foot[0] + 5 * out[0], foot[1] + 5 * out[1]);
      pen.stroke();
      const reach = (Math.abs(out[0]) * width + Math.abs(out[1]) * 9) / 2;
      const spot = [foot[0] + (9 + reach) * out[0], foot[1] + (9 + reach) * out[1]];
      // Each axis of the floor keeps its labels on its own side of the corner where both meet.
      if (corner) {
        const far = (end) => Math.hypot(end[0] - corner[0], end[1] - corner[1]);
        const near = far(from) < far(to);
        const beside = (near ? to : from)[0] - corner[0];
        const least = width / 2 + 4;
        if (Math.abs(beside) > Math.max(2 * least, length / 2) && (spot[0] - corner[0]) * Math.sign(beside) < least) {
          spot[0] = corner[0] + least * Math.sign(beside);
        }
      }
      // A label that would touch the one before is left out.
      if (last && Math.abs(spot[0] - last[0]) < width + 4 && Math.abs(spot[1] - last[1]) < 15) continue;
      write(pen, text, ...spot);
      widest = Math.max(widest, 2 * reach);
      last = spot;
    }
    // Read from left to right, and upwards where the edge stands.
    if (Math.abs(cos) < 0.3 ? sin > 0 : cos < 0) [cos, sin] = [-cos, -sin];
    pen.save();
    pen.translate(centre[0] + (24 + widest) * out[0], centre[1] + (24 + widest) * out[1]);
    pen.rotate(Math.atan2(sin, cos));
    write(pen, label, 0, 0);
    pen.restore();
  }
  function drawBar(pen) {
    const [left, top, width] = [stage.clientWidth - 92, 0.14 * stage.clientHeight, 15];
    const height = 0.68 * stage.clientHeight;
    data.map.forEach((color, idx) => {
      pen.fillStyle = color;
      pen.fillRect(left, top + height * (1 - (idx + 1) / 256), width, height / 256 + 1);
    });
    pen.strokeStyle = pen.fillStyle = data.ink;
    pen.strokeRect(left, top, width, height);
    pen.save();
    pen.textAlign = "left";
    for (const [share, text] of data.barTicks) {
      const at = top + height * (1 - share);
      pen.fillRect(left + width, at - 0.5, 4, 1);
      write(pen, text, left + width + 7, at);
    }
    pen.textAlign = "center";
    pen.translate(stage.clientWidth - 12, top + height / 2);
    pen.rotate(-Math.PI / 2);
    write(pen, data.lossLabel, 0, 0);
    pen.restore();
  }

  // --- Which point of the surface is under a pixel: along the ray until it passes below the surface.
  const cell = (at, value) => {
    if (!(at[0] <= value && value <= at[at.length - 1])) return null;
    let [lo, hi] = [0, at.length - 1];
    while (hi - lo > 1) {
      const mid = (lo + hi) >> 1;
      if (at[mid] <= value) lo = mid; else hi = mid;
    }
    return [lo, (value - at[lo]) / (at[hi] - at[lo])];
  };
  function mean(values, px, py) {
    const [across, along] = [cell(x, px), cell(y, py)];
    if (!across || !along) return NaN;
    const [[column, u], [row, v]] = [across, along];
    const at = (down, right) => values[(row + down) * nx + column + right];
    return (at(0, 0) * (1 - u) + at(0, 1) * u) * (1 - v) + (at(1, 0) * (1 - u) + at(1, 1) * u) * v;
  }
  function pick(px, py) {
    const [u, v] = [(px - centre[0]) / scale, (centre[1] - py) / scale];
    const { right, up, toward } = view;
    const combine = (a, b, c) => [0, 1, 2].map((axis) => a * right[axis] + b * up[axis] + c * toward[axis]);
    // The ray at the distance t from the picture's plane towards the viewer.
    const narrowed = (t) => 1 - t / distance;
    const ray = (t) => combine(u * narrowed(t), v * narrowed(t), t);
    let before = null;
    for (let step = 0; step <= 1600; step++) {
      const t = 2 - 4 * step / 1600;
      const place = ray(t);
      const gap = place[2] - mean(heights, place[0], place[1]);
      if (!isNaN(gap) && before !== null && (gap <= 0) !== (before.gap <= 0)) {
        const share = before.gap / (before.gap - gap);
        const hit = ray(before.t + (t - before.t) * share);
        return { place: hit, loss: mean(losses, hit[0], hit[1]) };
      }
      before = isNaN(gap) ? null : { t, gap };
    }
    return null;
  }
  const digits = (value) => Number(value.toPrecision(5)).toString().replace("-", "\u2212");
  function point(px, py) {
    hover = pick(px, py);
    if (!hover) {
      tip.style.display = "none";
      return;
    }
    const scaled = ([lo, hi], at, half) => lo + (hi - lo) * (at / half + 1) / 2;
    const [cx, cy] = [scaled(data.xRange, hover.place[0], half[0]), scaled(data.yRange, hover.place[1], half[1])];
    tip.textContent = `x ${digits(cx)}\ny ${digits(cy)}\nloss ${digits(hover.loss)}`;
    tip.style.display = "block";
    const width = tip.offsetWidth;
    tip.style.left = Math.min(px + 14, stage.clientWidth - width) + "px";
    tip.style.top = Math.max(0, py - 14 - tip.offsetHeight) + "px";
  }

  // --- Pointer, wheel, touch and keys.
  const pointers = new Map();
  // Where a finger went down that has not moved since: lifted, it points.
  let tapped = null;
  const bounded = (value, lo, hi) => Math.min(hi, Math.max(lo, value));
  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }
  const turn = (right, up) => {
    camera.azimuth = (camera.azimuth - right) % 360;
    camera.elevation = bounded(camera.elevation + up, 0, 90);
    redraw();
  };
  const zoom = (factor) => {
    camera.zoom = bounded(camera.zoom * factor, 0.4, 12);
    redraw();
  };
  const inside = (event) => {
    const bounds = stage.getBoundingClientRect();
    return [event.clientX - bounds.left, event.clientY - bounds.top];
  };
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a[0] - b[0], a[1] - b[1]);
  };
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, inside(event));
    tapped = event.pointerType === "touch" && pointers.size === 1 ? inside(event) : null;
    tip.style.display = "none";
    hover = null;
  });
  stage.addEventListener("pointermove", (event) => {
    const now = inside(event);
    if (!pointers.has(event.pointerId)) {
      point(...now);
      redraw();
      return;
    }
    const was = pointers.get(event.pointerId);
    if (tapped && Math.hypot(now[0] - tapped[0], now[1] - tapped[1]) > 6) tapped = null;
    const apart = pointers.size === 2 ? spread() : 0;
    pointers.set(event.pointerId, now);
    if (pointers.size === 2) zoom(spread() / Math.max(1, apart));
    else if (pointers.size === 1) turn((now[0] - was[0]) * 0.4, (now[1] - was[1]) * 0.4);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    stage.addEventListener(kind, (event) => {
      pointers.delete(event.pointerId);
      if (tapped && kind === "pointerup") {
        point(...tapped);
        redraw();
      }
      tapped = null;
    });
  }
  stage.addEventListener("pointerleave", (event) => {
    // A finger leaves when it is lifted; what it pointed at is still to be read.
    if (event.pointerType === "touch") return;
    hover = null;
    tip.style.display = "none";
    redraw();
  });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * 0.0015));
  }, { passive: false });
  stage.addEventListener("keydown", (event) => {
    const keys = {
      ArrowLeft: () => turn(-5, 0), ArrowRight: () => turn(5, 0),
      ArrowUp: () => turn(0, 5), ArrowDown: () => turn(0, -5),
      "+": () => zoom(1.15), "=": () => zoom(1.15), "-": () => zoom(1 / 1.15),
      0: () => { camera = { ...start }; redraw(); },
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  new ResizeObserver(resize).observe(stage);
  resize();
})();
