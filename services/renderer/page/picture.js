// A flat picture that says what lies under the pointer. The data stand in the element "data"; nothing is fetched.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const stage = document.querySelector(".stage");
  const [dot, rule, tip] = [".dot", ".rule", ".tip"].map((name) => stage.querySelector(name));
  const { x, y, area, reach, points } = data;
  const splits = data.splits.map(({ name, losses, accuracies }) => {
    const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const floats = (text) => new Float32Array(bytes(text).buffer);
    return { name, losses: floats(losses), accuracies: floats(accuracies) };
  });
  const isCurve = data.isCurve;
  let at = null;

  const digits = (value) => isNaN(value) ? "not known" : Number(value.toPrecision(5)).toString().replace("-", "\u2212");
  const share = ([lo, hi], value) => (value - lo) / (hi - lo);
  // From coefficients to pixels of the page and back.
  const unit = () => stage.clientWidth / data.width;
  const place = (px, py) => [
    unit() * (area[0] + share(reach[0], px) * (area[2] - area[0])),
    unit() * (area[3] - share(reach[1], py) * (area[3] - area[1])),
  ];
  const coefficients = (left, top) => [
    reach[0][0] + (left / unit() - area[0]) / (area[2] - area[0]) * (reach[0][1] - reach[0][0]),
    reach[1][0] + (area[3] - top / unit()) / (area[3] - area[1]) * (reach[1][1] - reach[1][0]),
  ];
  const nearest = (coordinates, value) => {
    let best = 0;
    coordinates.forEach((coordinate, idx) => {
      if (Math.abs(coordinate - value) < Math.abs(coordinates[best] - value)) best = idx;
    });
    return best;
  };
  function hide() {
    at = null;
    for (const element of [dot, rule, tip]) element.style.display = "none";
  }
  function show(left, top, text, isMarked = true) {
    tip.textContent = text;
    tip.style.display = "block";
    dot.style.display = isMarked ? "block" : "none";
    [dot.style.left, dot.style.top] = [left + "px", top + "px"];
    tip.style.left = Math.min(left + 14, stage.clientWidth - tip.offsetWidth) + "px";
    tip.style.top = Math.max(0, top - 14 - tip.offsetHeight) + "px";
  }
  function showPoint(column, row) {
    at = [column, row];
    const idx = row * x.length + column;
    const lines = [`x ${digits(x[column])}`];
    if (!isCurve) lines.push(`y ${digits(y[row])}`);
    for (const { name, losses, accuracies } of splits) {
      const of = splits.length > 1 ? ` (${name})` : "";
      lines.push(`${data.quantity}${of} ${digits(losses[idx])}`);
      if (!isNaN(accuracies[idx])) lines.push(`accuracy${of} ${digits(accuracies[idx])} %`);
    }
    const loss = splits[0].losses[idx];
    const position = data.isLog ? Math.log10(loss) : loss;
    const [left, top] = place(x[column], isCurve ? Math.min(position, reach[1][1]) : y[row]);
    if (isCurve) {
      rule.style.display = "block";
      [rule.style.left, rule.style.top] = [left + "px", unit() * area[1] + "px"];
      rule.style.height = unit() * (area[3] - area[1]) + "px";
    }
    const isKnown = !isCurve || isFinite(position);
    show(left, isKnown ? top : unit() * area[3], lines.join("\n"), isKnown);
  }
  function point(event) {
    const bounds = stage.getBoundingClientRect();
    const [left, top] = [event.clientX - bounds.left, event.clientY - bounds.top];
    const near = points.map(({ x, y, text }) => ({ spot: place(x, y), text }))
      .map(({ spot, text }) => ({ spot, text, far: Math.hypot(spot[0] - left, spot[1] - top) }))
      .sort((a, b) => a.far - b.far)[0];
    if (near && near.far < 10) {
      show(...near.spot, near.text);
      return;
    }
    const [u, v] = [left / unit(), top / unit()];
    const inside = u >= area[0] && u <= area[2] && v >= area[1] && v <= area[3];
    if (!inside || !x.length) {
      hide();
      return;
    }
    const [px, py] = coefficients(left, top);
    if (isCurve) showPoint(nearest(x, px), 0);
    else if (px >= reach[0][0] && px <= reach[0][1]) showPoint(nearest(x, px), nearest(y, py));
  }
  stage.addEventListener("pointermove", point);
  stage.addEventListener("pointerdown", point);
  // A finger leaves when it is lifted; what it pointed at is still to be read.
  stage.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") hide(); });
  stage.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (event.key === "Escape") hide();
    if (!moves[event.key] || !x.length || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const [column, row] = at || [nearest(x, 0), isCurve ? 0 : nearest(y, 0)];
    const move = at ? moves[event.key] : [0, 0];
    const kept = (idx, count) => Math.min(count - 1, Math.max(0, idx));
    showPoint(kept(column + move[0], x.length), isCurve ? 0 : kept(row + move[1], y.length));
  });
  window.addEventListener("resize", hide);
})();
