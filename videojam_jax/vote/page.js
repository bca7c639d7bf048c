"use strict";

// The server knows where a rater stands and answers every action with it; this page
// shows that and nothing of its own. An answer is shown as given when it is on disk.

const element = (id) => document.getElementById(id);
const SIDES = ["left", "right"];
const KEYS = { ArrowLeft: "left", 1: "left", ArrowRight: "right", 2: "right" };
const LONG_PROMPT = 140;
const NOT_LOADED = "A clip could not be loaded: it was moved or changed, or the server is gone.";

let state = null; // as the server gives it
let busy = false; // an action is on its way
let stage = null; // the clips on show

// --- the server ---------------------------------------------------------------------

async function ask(path, content) {
  const request = content && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
  };
  let reply;
  try {
    reply = await fetch(path, { cache: "no-store", ...request });
  } catch {
    throw new Error("The server does not answer, so nothing was saved. Please try again later.");
  }
  const answer = await reply.json().catch(() => ({ error: `status ${reply.status}` }));
  if (!reply.ok) throw Object.assign(new Error(answer.error), { status: reply.status });
  return answer;
}

const look = (rater) => ask(`api/state?rater=${encodeURIComponent(rater)}`);

// One action at a time: what is pressed meanwhile was not meant for what comes next.
async function act(path, content) {
  if (busy) return;
  busy = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    show(await ask(path, content));
    tell("");
  } catch (error) {
    // Too late: the pair was finished elsewhere, in another window, say.
    if (error.status === 409) await look(state.rater).then(show, () => {});
    tell(error.message);
  } finally {
    busy = false;
    document.body.removeAttribute("aria-busy");
  }
}

const enter = (name) => act("api/enter", { rater: name });
const undo = () => state?.undo && act("api/undo", { rater: state.rater });
const skip = () => state?.pair && act("api/skip", { rater: state.rater, pair: state.pair.id });

function vote(question, side) {
  // What has not been seen cannot be judged.
  if (!state?.pair || !stage?.ready) return;
  act("api/vote", { rater: state.rater, pair: state.pair.id, question, side });
}

const currentQuestion = () =>
  state.questions.find(({ name }) => !(name in state.pair.answers))?.name;

// --- what is seen -------------------------------------------------------------------

function tell(text) {
  element("notice").textContent = text;
  element("notice").hidden = !text;
}

function open(page) {
  for (const id of ["welcome", "vote", "end"]) element(id).hidden = id !== page;
}

function show(next) {
  const before = state;
  state = next;
  remember(state.rater);
  if (!state.pair) {
    stage?.end();
    stage = null;
    open("end");
    element("sum").textContent = sum();
    element("back").disabled = !state.undo;
    document.querySelector("#end h1").focus();
    return;
  }
  open("vote");
  const { pair, total } = state;
  element("place").textContent = `${pair.number} of ${total}`;
  element("progress").max = total;
  element("progress").value = state.done + state.skipped;
  element("rater").textContent = state.rater;
  element("undo").disabled = !state.undo;
  if (before?.pair?.id !== pair.id || !stage) {
    element("prompt").textContent = pair.prompt ? `“${pair.prompt}”` : "(no text)";
    element("prompt").classList.toggle("long", pair.prompt.length > LONG_PROMPT);
    element("prompt").focus({ preventScroll: true });
    stage?.end();
    stage = new Stage(pair);
  }
  showQuestions();
}

function sum() {
  const answered = `You answered ${state.done} of ${state.total} pairs`;
  return state.skipped ? `${answered} and skipped ${state.skipped}.` : `${answered}.`;
}

function showQuestions() {
  const list = element("questions");
  if (!list.children.length) list.append(...state.questions.map(makeQuestion));
  element("clips").setAttribute("aria-busy", String(!stage.ready));
  const current = currentQuestion();
  for (const row of list.children) {
    const { name } = row.dataset;
    row.classList.toggle("current", name === current);
    if (name === current) row.setAttribute("aria-current", "step");
    else row.removeAttribute("aria-current");
    for (const button of row.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(state.pair.answers[name] === button.dataset.side));
      button.disabled = !stage.ready;
    }
  }
}

function makeQuestion({ name, asks, hint }) {
  const row = make("div", { className: "question" });
  row.dataset.name = name;
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", `${asks} ${hint}`);
  const words = make("div");
  words.append(make("span", { className: "asks", textContent: asks }));
  words.append(make("small", { textContent: hint }));
  const [left, right] = SIDES.map((side) => {
    const button = make("button", { type: "button" });
    button.dataset.side = side;
    button.setAttribute("aria-label", `${asks} The ${side} one`);
    const arrow = make("kbd", { textContent: side === "left" ? "←" : "→" });
    button.append(...(side === "left" ? [arrow, " Left"] : ["Right ", arrow]));
    button.addEventListener("click", () => vote(name, side));
    return button;
  });
  row.append(left, words, right);
  return row;
}

const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

// --- the clips ----------------------------------------------------------------------

// Two clips that start together, and start again together when both are at their end.
class Stage {
  constructor(pair) {
    this.pair = pair;
    this.ready = false;
    this.ended = false; // this pair is no longer on show
    this.media = [];
    this.load("mp4");
  }

  async load(kind) {
    this.kind = kind;
    const load = kind === "mp4" ? loadVideo : loadGif;
    try {
      this.media = await Promise.all(SIDES.map((side) => load(this.pair[side][kind])));
    } catch (error) {
      if (this.ended) return;
      const { left, right } = this.pair;
      if (kind === "mp4" && error.cannotPlay && left.gif && right.gif) this.load("gif");
      else tell(`${error.message} You can skip this pair, or reload the page.`);
      return;
    }
    if (this.ended) return;
    SIDES.forEach((side, i) => {
      element(side).querySelector(".frame").replaceChildren(this.media[i].node);
      this.media[i].node.setAttribute("aria-label", `The ${side} clip`);
      this.media[i].node.addEventListener("ended", () => this.loop());
    });
    this.fit();
    this.ready = true;
    showQuestions();
    this.play();
  }

  // Both as large as the page has room for, small ones by whole numbers so that pixels
  // stay square, both by the same factor.
  fit() {
    if (!this.media.length) return;
    const ratio = window.devicePixelRatio || 1;
    const column = element("left").clientWidth;
    const room = Math.max(160, window.innerHeight - this.around());
    const width = Math.max(...this.media.map((clip) => clip.width));
    const height = Math.max(...this.media.map((clip) => clip.height));
    let scale = Math.min(column / width, room / height) * ratio;
    const crisp = scale >= 2;
    if (crisp) scale = Math.floor(scale);
    SIDES.forEach((side, i) => {
      const { node, ...clip } = this.media[i];
      const frame = element(side).querySelector(".frame");
      frame.style.width = `${(clip.width * scale) / ratio}px`;
      frame.style.height = `${(clip.height * scale) / ratio}px`;
      node.classList.toggle("crisp", crisp);
    });
  }

  // The height of all but the clips.
  around() {
    const frames = SIDES.map((side) => element(side).querySelector(".frame").offsetHeight);
    return element("vote").offsetHeight - Math.max(...frames);
  }

  async play() {
    if (!this.ready) return;
    if (this.kind === "gif") {
      // Given its address anew, a gif begins from its start.
      for (const { node, address } of this.media) {
        node.src = "";
        node.src = address;
      }
      return;
    }
    const videos = this.media.map(({ node }) => node);
    for (const video of videos) video.pause();
    await Promise.all(videos.map(rewind));
    if (this.ended) return;
    for (const video of videos) video.play().catch(() => {}); // paused again meanwhile
  }

  loop() {
    if (!this.ended && this.media.every(({ node }) => node.ended)) this.play();
  }

  end() {
    this.ended = true;
    for (const { node, address } of this.media) {
      if (this.kind === "mp4") node.pause();
      else URL.revokeObjectURL(address);
    }
    for (const side of SIDES) element(side).querySelector(".frame").replaceChildren();
  }
}

function rewind(video) {
  if (video.currentTime === 0) return undefined;
  return new Promise((done) => {
    video.addEventListener("seeked", done, { once: true });
    video.currentTime = 0;
  });
}

function loadVideo(address) {
  const properties = { muted: true, playsInline: true, preload: "auto", tabIndex: -1 };
  const node = make("video", { ...properties, disablePictureInPicture: true });
  return new Promise((done, fail) => {
    const loaded = () => done({ node, width: node.videoWidth, height: node.videoHeight });
    node.addEventListener("canplaythrough", loaded, { once: true });
    // A browser that saves memory stops before that.
    node.addEventListener("suspend", () => node.readyState >= node.HAVE_CURRENT_DATA && loaded());
    node.addEventListener("error", async () => fail(await whyNot(address)), { once: true });
    node.src = address;
    node.load();
  });
}

// A browser says the same of a file that is not there and of one that it cannot play.
async function whyNot(address) {
  const reply = await fetch(address, { method: "HEAD" }).catch(() => null);
  if (!reply?.ok) return new Error(NOT_LOADED);
  const message = "This browser cannot play the clips (mp4, H.264). Please take another browser.";
  return Object.assign(new Error(message), { cannotPlay: true });
}

async function loadGif(address) {
  const reply = await fetch(address).catch(() => null);
  if (!reply?.ok) throw new Error(NOT_LOADED);
  const node = make("img", { alt: "", src: URL.createObjectURL(await reply.blob()) });
  await node.decode();
  return { node, address: node.src, width: node.naturalWidth, height: node.naturalHeight };
}

// --- whose page it is ---------------------------------------------------------------

// The name stands in the address, so that a page that is loaded again or kept as a
// bookmark goes on; and in the browser, for one that is opened without it.
function remember(name) {
  const address = new URL(location);
  address.searchParams.set("rater", name);
  history.replaceState(null, "", address);
  try {
    localStorage.setItem("rater", name);
  } catch {} // a browser may forbid it
}

function remembered() {
  const inAddress = new URL(location).searchParams.get("rater");
  if (inAddress) return inAddress;
  try {
    return localStorage.getItem("rater");
  } catch {
    return null;
  }
}

function leave() {
  try {
    localStorage.removeItem("rater");
  } catch {}
  history.replaceState(null, "", location.pathname);
  stage?.end();
  stage = null;
  state = null;
  tell("");
  welcome();
}

function welcome() {
  open("welcome");
  element("name").value = "";
  element("name").focus();
}

// --- hands --------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (!state || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  // A button that was reached by Tab is pressed by Space, as everywhere.
  const onButton = document.activeElement instanceof HTMLButtonElement;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key in KEYS && state.pair) vote(currentQuestion(), KEYS[key]);
  else if (key === " " && !onButton) stage?.play();
  else if (key === "s") skip();
  else if (key === "Backspace") undo();
  else return;
  event.preventDefault();
});

// After a click the keys are the page's again. (`detail` is 0 where Enter or Space clicked.)
document.addEventListener("click", (event) => {
  if (event.detail > 0 && event.target.closest?.("button")) document.activeElement?.blur();
});

element("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  enter(element("name").value);
});
element("replay").addEventListener("click", () => stage?.play());
element("undo").addEventListener("click", undo);
element("back").addEventListener("click", undo);
element("skip").addEventListener("click", skip);
element("leave").addEventListener("click", leave);
element("next").addEventListener("click", leave);
addEventListener("resize", () => stage?.fit());

(async () => {
  const name = remembered();
  if (name) await enter(name);
  if (!state) welcome();
})();
