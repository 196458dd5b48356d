"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const canvas = document.getElementById("canvas");
  const pen = canvas.getContext("2d");
  const tip = document.getElementById("tip");
  const [height, width] = data.size;
  const view = { scale: 1, x: 0, y: 0 }; // screen = scene * scale + (x, y), in CSS pixels
  let fit = 1;
  let opacity = 0.45;
  let outlines = true;
  let marked = null;
  let waiting = false;

  const redraw = () => {
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(() => { waiting = false; draw(); });
    }
  };

  for (const layer of data.layers) {
    layer.image = new Image();
    layer.image.onload = redraw;
    layer.image.src = layer.uri;
  }
  for (const object of data.objects) {
    const path = new Path2D();
    const box = [Infinity, Infinity, -Infinity, -Infinity];
    for (const ring of object.r) {
      for (let i = 0; i < ring.length; i += 2) {
        const x = ring[i], y = ring[i + 1];
        if (i) path.lineTo(x, y); else path.moveTo(x, y);
        box[0] = Math.min(box[0], x); box[1] = Math.min(box[1], y);
        box[2] = Math.max(box[2], x); box[3] = Math.max(box[3], y);
      }
      path.closePath();
    }
    object.path = path;
    object.box = box;
  }

  function resize() {
    const ratio = window.devicePixelRatio || 1;
    const before = fit;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    fit = 0.96 * Math.min(canvas.clientWidth / width, canvas.clientHeight / height);
    if (view.scale === before || view.scale < fit) showAll();
    redraw();
  }

  function showAll() {
    view.scale = fit;
    view.x = (canvas.clientWidth - width * fit) / 2;
    view.y = (canvas.clientHeight - height * fit) / 2;
    redraw();
  }

  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const scale = Math.min(Math.max(view.scale * factor, fit / 2), Math.max(40, fit));
    const real = scale / view.scale;
    view.x = x - (x - view.x) * real;
    view.y = y - (y - view.y) * real;
    view.scale = scale;
    redraw();
  }

  function pan(dx, dy) {
    const margin = 60; // keep some of the scene in sight
    view.x = Math.min(Math.max(view.x + dx, margin - width * view.scale), canvas.clientWidth - margin);
    view.y = Math.min(Math.max(view.y + dy, margin - height * view.scale), canvas.clientHeight - margin);
    redraw();
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.setTransform(ratio * view.scale, 0, 0, ratio * view.scale, ratio * view.x, ratio * view.y);
    for (const layer of data.layers) {
      if (!layer.shown || !layer.image.complete || !layer.image.naturalWidth) continue;
      const enlarged = view.scale * width / layer.image.naturalWidth;
      pen.imageSmoothingEnabled = layer.kind === "picture" ? enlarged < 3 : enlarged < 1;
      pen.globalAlpha = layer.kind === "picture" ? 1 : layer.kind === "mask" ? opacity : 0.9;
      pen.drawImage(layer.image, 0, 0, width, height);
    }
    pen.globalAlpha = 1;
    if (outlines) drawOutlines();
    drawBar();
  }

  function drawOutlines() {
    const shown = data.labels.map((_, i) => data.layers.some((l) => l.kind === "mask" && l.shown && l.name === data.labels[i].name));
    const left = -view.x / view.scale, top = -view.y / view.scale;
    const right = left + canvas.clientWidth / view.scale, bottom = top + canvas.clientHeight / view.scale;
    const seen = data.objects.filter((o) => shown[o.l] && o.box[0] < right && o.box[2] > left && o.box[1] < bottom && o.box[3] > top);
    pen.lineJoin = "round";
    for (const [thick, colour] of [[3.2, "rgba(0,0,0,.55)"], [1.6, null]]) {
      pen.lineWidth = thick / view.scale;
      for (const object of seen) {
        pen.strokeStyle = colour || data.labels[object.l].colour;
        pen.stroke(object.path);
      }
    }
    if (marked && shown[marked.l]) {
      pen.fillStyle = "rgba(255,255,255,.35)";
      pen.fill(marked.path, "evenodd");
      pen.lineWidth = 2.4 / view.scale;
      pen.strokeStyle = "#fff";
      pen.stroke(marked.path);
    }
  }

  function drawBar() {
    const wanted = 120 * data.metres / view.scale;
    const power = 10 ** Math.floor(Math.log10(wanted));
    const length = [5, 2, 1].map((n) => n * power).find((n) => n <= wanted) || power;
    document.getElementById("bar").style.width = `${length / data.metres * view.scale}px`;
    document.getElementById("bar-text").textContent = length >= 1000 ? `${length / 1000} km` : length >= 1 ? `${length} m` : `${+(length * 100).toPrecision(2)} cm`;
  }

  const toScene = (x, y) => [(x - view.x) / view.scale, (y - view.y) / view.scale];

  function objectAt(x, y) {
    if (!outlines) return null;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    let found = null;
    for (const object of data.objects) { // large ones first: the smallest wins
      const b = object.box;
      if (x < b[0] || x > b[2] || y < b[1] || y > b[3]) continue;
      if (!data.layers.some((l) => l.kind === "mask" && l.shown && l.name === data.labels[object.l].name)) continue;
      if (pen.isPointInPath(object.path, x, y, "evenodd")) found = object;
    }
    return found;
  }

  function point(event) {
    const frame = canvas.getBoundingClientRect();
    const x = event.clientX - frame.left, y = event.clientY - frame.top;
    const [column, row] = toScene(x, y);
    const [a, b, c, d, e, f] = data.transform;
    const digits = Math.max(0, Math.min(7, 1 - Math.floor(Math.log10(Math.hypot(a, d)))));
    const inside = column >= 0 && row >= 0 && column < width && row < height;
    document.getElementById("place").textContent = inside
      ? `x ${(a * column + b * row + c).toFixed(digits)}  y ${(d * column + e * row + f).toFixed(digits)}  (${data.crs})` : "";
    const object = inside ? objectAt(column, row) : null;
    if (object !== marked) { marked = object; redraw(); }
    tip.hidden = !object;
    if (!object) return;
    tip.replaceChildren();
    const name = document.createElement("b");
    name.textContent = `${data.labels[object.l].name}, object ${object.n}`;
    const text = `${object.a.toLocaleString("en")} m², score ${object.s}, written in ${object.w} ${object.w === 1 ? "window" : "windows"}`;
    tip.append(name, text);
    tip.style.left = `${Math.min(x + 14, canvas.clientWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(y + 14, canvas.clientHeight - tip.offsetHeight - 8)}px`;
  }

  const fingers = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    canvas.classList.add("held");
  });
  canvas.addEventListener("pointermove", (event) => {
    const old = fingers.get(event.pointerId);
    if (!old) { point(event); return; }
    const others = [...fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    const frame = canvas.getBoundingClientRect();
    if (others.length) {
      const [px, py] = others[0];
      const was = Math.hypot(old[0] - px, old[1] - py), is = Math.hypot(event.clientX - px, event.clientY - py);
      if (was > 0) zoom(is / was, (event.clientX + px) / 2 - frame.left, (event.clientY + py) / 2 - frame.top);
    } else {
      pan(event.clientX - old[0], event.clientY - old[1]);
    }
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(kind, (event) => {
      fingers.delete(event.pointerId);
      if (!fingers.size) canvas.classList.remove("held");
      if (kind === "pointerup") point(event);
    });
  }
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; if (marked) { marked = null; redraw(); } });
  canvas.addEventListener("dblclick", (event) => {
    const frame = canvas.getBoundingClientRect();
    zoom(2, event.clientX - frame.left, event.clientY - frame.top);
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const frame = canvas.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), event.clientX - frame.left, event.clientY - frame.top);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (moves[event.key]) pan(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") zoom(1.4);
    else if (event.key === "-") zoom(1 / 1.4);
    else if (event.key === "0") showAll();
    else return;
    event.preventDefault();
  });
  document.getElementById("in").onclick = () => zoom(1.6);
  document.getElementById("out").onclick = () => zoom(1 / 1.6);
  document.getElementById("all").onclick = showAll;
  document.getElementById("opacity").oninput = (event) => { opacity = event.target.value / 100; redraw(); };

  const list = document.getElementById("layers");
  function add(name, colour, shown, change) {
    const item = document.createElement("li"), label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = shown;
    box.onchange = () => { change(box.checked); redraw(); };
    label.append(box);
    if (colour) {
      const key = document.createElement("span");
      key.className = "key";
      key.style.background = colour;
      label.append(key);
    }
    label.append(name);
    item.append(label);
    list.append(item);
  }
  for (const layer of data.layers) add(layer.name, layer.colour, layer.shown, (on) => { layer.shown = on; });
  if (data.objects.length) add("outlines of objects", null, true, (on) => { outlines = on; });

  new ResizeObserver(resize).observe(canvas);
  resize();
  showAll();
})();
