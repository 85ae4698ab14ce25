// The phone page. It inserts data as text only, without innerHTML; the page's policy (trusted types)
// would reject innerHTML.

const ASKED = {
  phones: "phones?newest=500",
  sends: "calls?newest=200&route=send",
  latest: "calls?newest=200",
  posts: "posts?newest=100",
  received: "received?newest=1000",
  faults: "faults",
  relay: "relay",
};
const MOST_NUMBERS = 500;
const LONGEST_TIMER = 2 ** 31 - 1;
// Delays before the relay is queried for the tokenIds of a post, after a call that may belong to it.
const ASK_AGAIN_MS = [400, 1500, 5000];

const FAULTS = {
  "400": "400 refused",
  "401": "401 not authorised",
  "403": "403 no such scope",
  "404": "404 not found",
  "429-50100": "429 rate limited",
  "429-50200": "429 blocked",
  "500": "500 server error",
  "502-html": "502 gateway page",
  "502-empty": "502 empty",
  "503-html": "503 HTML",
  "503-50300": "503 unavailable",
  "504-html": "504 gateway time-out",
  "reset-before-read": "connection reset",
  "hang-before-read": "no answer",
  "reset-after-accept": "connection reset",
  "hang-after-accept": "no answer",
  "202-no-token": "no token in it",
  "202-trailing-comma": "trailing comma",
  "202-empty": "empty body",
  "ok": "late, after 3 s",
};
const CARRIED_OUT = new Set([
  "reset-after-accept", "hang-after-accept", "202-no-token", "202-trailing-comma", "202-empty", "ok",
]);

const STATES = { waiting: "Waiting: ", undelivered: "Not delivered: " };

const byId = (id) => document.getElementById(id);
const narrow = matchMedia("(max-width: 44rem)");
const shown = { phones: {}, sends: [], latest: [], calls: [], faults: [], posts: [], received: [], relay: { known: false } };
let chosen = null;
let clock = { ahead: 0, offset: 0 };
const seen = new Map();
let first = true;

// Creates elements; their content is text.

function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Replaces changed children by key. Unchanged elements keep their focus, scroll position and picture.
function reconcile(parent, items, keyOf, build) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const state = JSON.stringify(item);
    let child = old.get(key);
    old.delete(key);
    if (child?.made !== state) {
      const fresh = build(item, child);
      fresh.dataset.key = key;
      fresh.made = state;
      if (child) {
        const focused = child.contains(document.activeElement);
        if (place === child) place = fresh;
        child.replaceWith(fresh);
        if (focused) fresh.querySelector("button, summary, [tabindex]")?.focus();
      }
      child = fresh;
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const child of old.values()) child.remove();
}

// Requests to the simulator.

async function ask(path, options = {}) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  const value = await answer.json();
  if (!answer.ok) throw new Error((value.errors ?? [`Answered ${answer.status}.`]).join(" "));
  return value;
}

const tell = (path, body, method = "POST") =>
  ask(path, { method, body: body === undefined ? undefined : JSON.stringify(body) });

let refreshing = false;
let again = false;

async function refresh() {
  again = true;
  if (refreshing) return;
  refreshing = true;
  try {
    while (again) {
      again = false;
      const names = Object.keys(ASKED);
      const values = await Promise.all(names.map((name) => ask(`/_control/${ASKED[name]}`)));
      names.forEach((name, index) => { shown[name] = values[index]; });
      shown.calls = allCalls();
      render();
    }
  } catch {
    setLive(false); // the stream connects again, and that refreshes
  } finally {
    refreshing = false;
  }
}

// Sends are requested separately, so that many polls of deliveries do not push them out of the latest calls.
function allCalls() {
  const byNumber = new Map([...shown.sends, ...shown.latest].map((call) => [call.n, call]));
  return [...byNumber.values()].sort((one, other) => one.n - other.n);
}

function listen() {
  const stream = new EventSource("/_control/events");
  stream.onmessage = (event) => {
    const told = JSON.parse(event.data);
    clock = { ahead: told.aheadSeconds, offset: Date.parse(told.now) - Date.now() };
    setLive(true);
    refresh();
  };
  stream.onerror = () => {
    setLive(false);
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 1000);
  };
}

function setLive(yes) {
  const text = yes ? "live" : "not connected; trying again …";
  if (byId("live").textContent !== text) byId("live").textContent = text;
  byId("live").classList.toggle("yes", yes);
}

// Formats times and numbers. Times are local: 16:01:07, or 2026-10-05 16:01:07 on other days.

const now = () => new Date(Date.now() + clock.offset);
const sameDay = (one, other) => one.toDateString() === other.toDateString();
const twoDigits = (number) => String(number).padStart(2, "0");
const timeOf = (date) => [date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits).join(":");
const dateOf = (date) => [date.getFullYear(), date.getMonth() + 1, date.getDate()].map(twoDigits).join("-");
const dayOf = (date) => (sameDay(date, now()) ? "Today" : dateOf(date));

function when(text, properties = {}) {
  const date = new Date(text);
  const spoken = sameDay(date, now()) ? timeOf(date) : `${dateOf(date)} ${timeOf(date)}`;
  const title = `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
  return el("time", { datetime: text, title, ...properties }, spoken);
}

function spaced(number) {
  const northAmerican = /^1(\d{3})(\d{3})(\d{4})$/.exec(number);
  if (northAmerican) return `+1 ${northAmerican.slice(1).join(" ")}`;
  const britishMobile = /^44(7\d{3})(\d{6})$/.exec(number);
  return britishMobile ? `+44 ${britishMobile.slice(1).join(" ")}` : `+${number}`;
}

// The statuses of sends in the relay's responses, events and callbacks.

let sends = { byToken: new Map(), byMessage: new Map() };

// One entry for each send, with the key `${message} ${n}`, because a queued send has no tokenId yet.
function relaySends() {
  const found = new Map();
  const learn = (id, data) => {
    const key = `${id} ${data.n}`;
    const send = found.get(key) ?? { id, changes: [] };
    for (const name of ["n", "status", "tokenId", "segments", "segmentsAtLeast", "encoding", "reference"]) {
      if (data[name] !== undefined) send[name] = data[name];
    }
    found.set(key, send);
    return send;
  };
  for (const post of shown.posts) {
    const answer = parsed(post.answer);
    if (post.messageId === null || !Array.isArray(answer?.sends)) continue;
    for (const send of answer.sends) learn(post.messageId, send);
  }
  for (const entry of [...shown.received].sort(inOrder)) learn(entry.data.id, entry.data).changes.push(entry);
  const byToken = new Map();
  const byMessage = new Map();
  for (const send of found.values()) {
    if (send.tokenId) byToken.set(send.tokenId, send);
    byMessage.set(send.id, [...(byMessage.get(send.id) ?? []), send]);
  }
  return { byToken, byMessage };
}

// EventBridge does not guarantee an order, and its times are in whole seconds.
const STEPS = { queued: 0, sending: 1, accepted: 2 };

function inOrder(one, other) {
  const rank = ({ data }) => [data.attempts ?? 0, STEPS[data.status] ?? 3, Number(data.final)];
  const [mine, its] = [rank(one), rank(other)];
  const at = mine.findIndex((value, index) => value !== its[index]);
  return at < 0 ? one.n - other.n : mine[at] - its[at];
}

function sizeOf(send) {
  if (!send?.segments) return null;
  const least = send.segmentsAtLeast ? "at least " : "";
  return `${least}${counted(send.segments, "segment")}, ${send.encoding}`;
}

const counted = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;

function counts(changes) {
  const of = (way) => changes.filter((entry) => entry.way === way).length;
  return [counted(of("event"), "event"), counted(of("callback"), "callback")].join(", ");
}

function changeList(changes, withJson) {
  return el(
    "ol", { class: "changes", role: "list" },
    ...changes.map((entry) => {
      const line = [
        when(entry.timestamp), " ", el("b", {}, entry.data.status), ` ${entry.way}`,
        entry.way === "callback" ? ", signature valid" : "",
      ];
      if (!withJson) return el("li", {}, ...line);
      return el(
        "li", {},
        el("details", {}, el("summary", {}, ...line), code(pretty(entry.raw), `JSON of the ${entry.way}`)),
      );
    }),
  );
}

// Searches numbers, texts and ids of messages, and everything in requests and their calls.

const sought = () => byId("search").value.trim().toLowerCase();
const leaves = (value) =>
  value !== null && typeof value === "object" ? Object.values(value).flatMap(leaves) : [String(value ?? "")];
const isSoughtIn = (value) => leaves(value).some((leaf) => leaf.toLowerCase().includes(sought()));

function isNumberSought(number) {
  const asked = digits(sought());
  return /^[+\d\s().-]+$/.test(sought()) && asked !== "" && number.includes(asked);
}

function found(number, messages) {
  if (sought() === "" || isNumberSought(number)) return messages;
  return messages.filter((message) => {
    const { id, reference } = sends.byToken.get(message.tokenId) ?? {};
    return isSoughtIn([message, id, reference]);
  });
}

byId("search").addEventListener("input", () => {
  renderPhones();
  renderRequests();
});

// Phones.

function conversations() {
  return Object.entries(shown.phones)
    .map(([number, messages]) => ({ number, messages: found(number, messages) }))
    .filter(({ messages }) => messages.length > 0)
    .map((each) => ({ ...each, last: each.messages.at(-1) }))
    .sort((one, other) => other.last.at.localeCompare(one.last.at))
    .slice(0, MOST_NUMBERS);
}

function renderPhones() {
  const all = conversations();
  if (!all.some(({ number }) => number === chosen)) {
    chosen = narrow.matches ? null : all[0]?.number ?? null;
    if (chosen === null) showList();
  }
  announce();
  const focusable = all.some(({ number }) => number === rowInFocus()) ? rowInFocus() : chosen ?? all[0]?.number;
  const rows = all.map(({ number, messages, last }) => ({
    number,
    count: messages.length,
    at: last.at,
    preview: `${STATES[last.state] ?? ""}${last.text}`,
    chosen: number === chosen,
    fresh: isFresh(number, messages),
    day: dayOf(new Date(last.at)),
  }));
  reconcile(byId("numbers"), rows, (row) => row.number, buildRow);
  for (const button of byId("numbers").querySelectorAll("button")) {
    button.tabIndex = button.dataset.number === focusable ? 0 : -1;
  }
  byId("nothing").hidden = rows.length > 0;
  byId("nothing").textContent = sought() === "" ? NOTHING_YET : "No message matches the search.";
  renderTalk();
}

const NOTHING_YET = byId("nothing").textContent;
const rowInFocus = () => document.activeElement?.dataset?.number;
const open = () => !narrow.matches || byId("phones").classList.contains("open");

function isFresh(number, messages) {
  const count = shown.phones[number].length;
  if (number === chosen && open()) seen.set(number, count);
  if (first) seen.set(number, count);
  return messages.length > (seen.get(number) ?? 0);
}

function buildRow(row) {
  return el(
    "li", { class: row.fresh ? "fresh" : null },
    el(
      "button",
      {
        type: "button",
        class: "number",
        "data-number": row.number,
        "aria-current": row.chosen ? "true" : null,
        onclick: () => openTalk(row.number, true),
      },
      el("span", { class: "face", "aria-hidden": "true" }, row.number.slice(-2)),
      el("span", { class: "name" }, spaced(row.number)),
      when(row.at),
      el("span", { class: "preview" }, row.preview),
      el(
        "span", { class: "count" }, String(row.count),
        el("span", { class: "unseen" }, `${row.count === 1 ? " message" : " messages"}${row.fresh ? ", new" : ""}`),
      ),
    ),
  );
}

function openTalk(number, move) {
  chosen = number;
  if (move) byId("phones").classList.add("open");
  seen.set(number, shown.phones[number].length);
  renderPhones();
  byId("bubbles").scrollTop = byId("bubbles").scrollHeight;
  if (move && narrow.matches) byId("back").focus();
}

function showList() {
  byId("phones").classList.remove("open");
}

function renderTalk() {
  const messages = chosen === null ? [] : found(chosen, shown.phones[chosen] ?? []);
  byId("talk-title").textContent = chosen === null ? "No number chosen" : spaced(chosen);
  byId("talk-count").textContent =
    chosen === null ? "" : `${messages.length} ${messages.length === 1 ? "message" : "messages"}`;
  const list = byId("bubbles");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const switched = list.dataset.number !== String(chosen);
  const rows = [];
  let day = null;
  messages.forEach((message, index) => {
    const its = dayOf(new Date(message.at));
    if (its !== day) rows.push({ key: `day ${its}`, day: its });
    day = its;
    const send = sends.byToken.get(message.tokenId) ?? null;
    rows.push({ key: `${message.tokenId} ${index}`, message, send, fresh: !switched && !first });
  });
  reconcile(list, rows, (row) => `${chosen} ${row.key}`, buildMessage);
  list.dataset.number = String(chosen);
  if (atEnd || switched) list.scrollTop = list.scrollHeight;
}

function buildMessage({ day, message, send, fresh }, before) {
  if (day) return el("li", { class: "day" }, day);
  return el(
    "li", { class: `message ${message.state}${fresh && !before ? " new" : ""}` },
    el("div", { class: "bubble" }, message.media ? picture(message.media) : null, message.text),
    el(
      "p", { class: "facts" },
      when(message.at), " · ", el("span", { class: "state" }, stateOf(message)),
      ...(send ? [" · relay: ", el("span", { class: `relay ${send.status}` }, send.status)] : []),
    ),
    el("p", { class: "facts" }, quietFacts(message, send)),
    ...heldBy(message),
    send?.changes.length ? changesOf(send, before) : null,
  );
}

function changesOf(send, before) {
  const open = before?.querySelector("details")?.open ?? false;
  return el(
    "details", { class: "facts", open },
    el("summary", {}, `${counts(send.changes)} of the relay`),
    changeList(send.changes, false),
  );
}

function stateOf(message) {
  if (message.state === "waiting") return "Waiting";
  if (message.state === "undelivered") return `Not delivered: ${message.description} (${message.code})`;
  return message.code === 4000 ? "Arrived" : `Arrived: ${message.description} (${message.code})`;
}

function heldBy(message) {
  const was = message.state === "waiting" ? "" : "was ";
  const reasons = [];
  if (message.scheduledFor) reasons.push([`${was}scheduled for `, message.scheduledFor]);
  if (message.quietUntil) reasons.push([`${was && "had "}quiet hours until `, message.quietUntil]);
  return reasons.map(([words, until]) => el("p", { class: "facts held" }, words, when(until)));
}

function quietFacts(message, send) {
  const facts = [sizeOf(send), `message ${message.messageId}`].filter(Boolean);
  if (message.subscriberKey !== null) facts.push(`subscriber ${message.subscriberKey}`);
  if (message.keyword !== null) facts.push(`keyword ${message.keyword}`);
  return facts.join(" · ");
}

function picture(address) {
  const missing = (why) =>
    el("div", { class: "no-picture" }, el("b", {}, why), address);
  if (!/^https?:\/\//i.test(address)) return missing("Picture with an address that is not http or https");
  const image = el("img", { alt: "Picture sent with this message", referrerpolicy: "no-referrer" });
  image.addEventListener("error", () => image.replaceWith(missing("Picture can't be loaded here")));
  image.addEventListener("load", () => {
    const list = byId("bubbles");
    if (list.lastElementChild?.contains(image)) list.scrollTop = list.scrollHeight;
  });
  image.src = address;
  return image;
}

const told = new Set();

function announce() {
  const news = [];
  for (const [number, messages] of Object.entries(shown.phones)) {
    messages.forEach((message, index) => {
      const key = `${number} ${message.tokenId} ${index}`;
      if (!told.has(key)) news.push(`New message to ${spaced(number)}: ${message.text}`);
      told.add(key);
    });
  }
  if (first || news.length === 0) return;
  byId("news").textContent = news.length > 3 ? `${news.length} new messages` : news.join(". ");
}

// A waiting message arrives when it is due, without another call.
let dueTimer;

function watchDue() {
  clearTimeout(dueTimer);
  const waiting = Object.values(shown.phones).flat().filter(({ state }) => state === "waiting");
  if (waiting.length === 0) return;
  const next = Math.min(...waiting.map(({ sendAt }) => Date.parse(sendAt)));
  const wait = Math.max(50, next - now().getTime() + 50);
  if (wait < LONGEST_TIMER) dueTimer = setTimeout(refresh, wait);
}

byId("numbers").addEventListener("keydown", (event) => {
  const buttons = [...byId("numbers").querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  const button = buttons[Math.min(Math.max(to, 0), buttons.length - 1)];
  button.focus();
  if (!narrow.matches) openTalk(button.dataset.number, false);
  else for (const each of buttons) each.tabIndex = each === button ? 0 : -1;
});

function goBack() {
  showList();
  byId("numbers").querySelector("button[aria-current]")?.focus();
}

byId("back").addEventListener("click", goBack);
byId("talk").addEventListener("keydown", (event) => {
  if (event.key === "Escape" && narrow.matches) goBack();
});
narrow.addEventListener("change", () => renderPhones());

// Requests and their calls.

// Formats JSON token by token, because parsing and printing could change numbers.
function pretty(text) {
  if (text === null || text === "") return text;
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  let depth = 0;
  let out = "";
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g);
  tokens.forEach((token, index) => {
    const line = () => `\n${"  ".repeat(depth)}`;
    if (token === "{" || token === "[") {
      depth += 1;
      out += token;
      if (!"}]".includes(tokens[index + 1])) out += line();
    } else if (token === "}" || token === "]") {
      depth -= 1;
      out += ("{[".includes(tokens[index - 1]) ? "" : line()) + token;
    } else if (token === ",") out += token + line();
    else out += token === ":" ? ": " : token;
  });
  return out;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const digits = (value) => String(value ?? "").replace(/\D/g, "");

function postedTo(post) {
  const to = parsed(post.request)?.to;
  return new Set((Array.isArray(to) ? to : []).map((entry) => digits(entry?.mobile ?? entry)));
}

function calledTo(call) {
  const body = parsed(call.raw) ?? {};
  const subscribers = Array.isArray(body.Subscribers) ? body.Subscribers : [];
  const numbers = Array.isArray(body.mobileNumbers) ? body.mobileNumbers : [];
  return [...numbers, ...subscribers.map((subscriber) => subscriber?.MobileNumber)].map(digits);
}

// A tokenId shows which post a call belongs to. Without a tokenId, the call must have been made during
// the post, for its recipients only, and not match another post.
function joined() {
  const owner = new Map();
  for (const post of shown.posts) {
    for (const call of shown.calls) {
      if (call.route === "send" && call.tokenId !== null && post.tokenIds.includes(call.tokenId)) {
        owner.set(call.n, { post: post.n, by: "tokenId" });
      }
    }
  }
  const recipients = new Map(shown.posts.map((post) => [post.n, postedTo(post)]));
  for (const call of shown.calls) {
    if (call.route !== "send" || owner.has(call.n)) continue;
    const numbers = calledTo(call);
    const posts = shown.posts.filter(
      (post) =>
        call.n >= post.firstCall && call.n <= post.lastCall && numbers.length > 0 &&
        numbers.every((number) => recipients.get(post.n).has(number)),
    );
    if (posts.length === 1) owner.set(call.n, { post: posts[0].n, by: "time" });
  }
  return owner;
}

// Successful calls for tokens and deliveries are hidden, because there is one every few minutes.
const isQuiet = (call) =>
  (call.route === "token" || call.route === "deliveries") && call.status === 200 && call.fault === null;
let showsQuiet = false;

byId("others").addEventListener("click", () => {
  showsQuiet = !showsQuiet;
  renderRequests();
});

function renderRequests() {
  const owner = joined();
  const quiet = shown.calls.filter(isQuiet).length;
  byId("others").hidden = quiet === 0;
  byId("others").textContent = `Tokens and deliveries (${quiet})`;
  byId("others").setAttribute("aria-pressed", String(showsQuiet));
  const rows = [
    ...shown.posts.map((post) => ({
      key: `post ${post.n}`,
      order: post.firstCall - 0.5,
      post,
      calls: shown.calls
        .filter((call) => owner.get(call.n)?.post === post.n)
        .map((call) => ({ call, by: owner.get(call.n).by })),
      changes: (sends.byMessage.get(post.messageId) ?? []).flatMap((send) => send.changes),
    })),
    ...shown.calls
      .filter((call) => !owner.has(call.n) && (showsQuiet || !isQuiet(call)))
      .map((call) => ({
        key: `call ${call.n}`,
        order: call.n,
        post: null,
        calls: [{ call, by: null }],
        changes: call.route === "send" ? sends.byToken.get(call.tokenId)?.changes ?? [] : [],
      })),
  ]
    .filter((row) => sought() === "" || isRequestSought(row))
    .sort((one, other) => other.order - one.order || (other.post?.n ?? 0) - (one.post?.n ?? 0));
  reconcile(byId("rows"), rows, (row) => row.key, buildRequest);
  byId("no-requests").hidden = rows.length > 0;
  byId("no-requests").textContent = sought() === "" ? "No call yet." : "No request matches the search.";
}

function isRequestSought({ post, calls, changes }) {
  const texts = [post?.request, post?.answer, ...calls.flatMap(({ call }) => [call.raw, call.answer])];
  const numbers = [...(post ? postedTo(post) : []), ...calls.flatMap(({ call }) => calledTo(call))];
  return numbers.some(isNumberSought) || isSoughtIn([
    texts.map((text) => parsed(text) ?? text),
    post?.headers,
    calls.map(({ call }) => [call.path, call.tokenId, call.fault]),
    changes.map(({ data }) => data),
  ]);
}

function buildRequest({ post, calls, changes }, before) {
  const call = calls[0]?.call;
  const summary = post
    ? [
        when(post.at, { class: "soft" }),
        el("b", {}, "POST /messages"),
        chip(post.status),
        el("span", { class: "what soft" }, briefly(post)),
        el("span", { class: "soft" }, calls.length === 1 ? "1 call" : `${calls.length || "no"} calls`),
      ]
    : [
        when(call.at, { class: "soft" }),
        el("b", {}, call.route ?? "unknown route"),
        chip(call.status),
        el("span", { class: "what soft" }, `${call.method} ${call.path}`),
      ];
  // The newest post is open, and posts that the reader has opened stay open when calls are added.
  const open = before ? before.querySelector("details").open : post !== null && !first;
  if (open && !before) for (const other of byId("rows").querySelectorAll("details[open]")) other.open = false;
  return el(
    "li", { class: "request" },
    el(
      "details", { open },
      el("summary", {}, ...summary),
      el(
        "div", { class: "sides" }, posted(post), became(post, calls),
        changes.length
          ? el(
              "section", { class: "side told", "aria-label": "Events and callbacks" },
              el("h3", {}, `The relay sent ${counts(changes)}`),
              changeList(changes, true),
            )
          : null,
      ),
    ),
  );
}

function briefly(post) {
  const body = parsed(post.request);
  const to = postedTo(post);
  const people = to.size === 1 ? spaced([...to][0]) : `${to.size} recipients`;
  return typeof body?.text === "string" ? `${people}: ${body.text.slice(0, 60)}` : people;
}

function chip(status) {
  if (status === null) return el("span", { class: "chip bad" }, "no response");
  const kind = status < 300 ? "good" : status === 429 || status === 503 ? "wait" : "bad";
  return el("span", { class: `chip ${kind}` }, String(status));
}

function code(text, label) {
  return el("pre", { tabindex: "0", role: "region", "aria-label": label }, text);
}

function headers(map) {
  const entries = Object.entries(map);
  if (entries.length === 0) return null;
  return el("dl", {}, ...entries.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function posted(post) {
  const side = el("section", { class: "side", "aria-label": "Posted" }, el("h3", {}, "Posted to the relay"));
  if (post === null) {
    side.append(el("p", { class: "soft" }, "Not posted with this form: only its call is shown."));
    return side;
  }
  side.append(
    el(
      "p", { class: "line" }, el("code", {}, "POST /messages"), " ",
      el("button", { type: "button", class: "copy", onclick: (event) => copyCurl(event, post.request, post.headers) }, "Copy as curl"),
    ),
  );
  side.append(headers(post.headers) ?? "", code(pretty(post.request), "JSON that was posted"));
  side.append(...answered(post));
  return side;
}

function answered(post) {
  if (post.status === null) return [el("p", { class: "notice" }, post.problem)];
  return [
    el("h4", {}, "Answer ", chip(post.status)),
    headers(post.answerHeaders) ?? "",
    code(pretty(post.answer), "Answer of the relay"),
  ];
}

// Shows the reasons of a refusal; the whole response is shown with its request.
function inShort(post) {
  const answer = parsed(post.answer);
  if (post.status === null || answer === null) return answered(post);
  const good = post.status < 300;
  const facts = good
    ? { message: answer.id ?? "–", status: answer.status ?? "–", sends: String(answer.sends?.length ?? "–"), ...sizes(answer) }
    : { code: answer.code ?? "–" };
  const { Location: _, ...others } = post.answerHeaders; // the id is shown already
  const reasons = Array.isArray(answer.errors) ? answer.errors : [];
  return [
    el("h4", {}, "Answer ", chip(post.status)),
    good ? "" : el("p", {}, answer.detail ?? ""),
    reasons.length ? el("ul", { class: "reasons", role: "list" }, ...reasons.map(reason)) : "",
    headers({ ...others, ...facts }),
  ];
}

function sizes(answer) {
  const each = new Set((answer.sends ?? []).map(sizeOf).filter(Boolean));
  return each.size ? { size: [...each].join("; ") } : {};
}

function reason(it) {
  if (typeof it === "string") return el("li", {}, it);
  return el("li", {}, el("code", {}, it.pointer || "the whole"), ` ${it.detail ?? it.code}`);
}

function became(post, calls) {
  const side = el(
    "section", { class: "side", "aria-label": "Raw calls" },
    el("h3", {}, "Reached MobileConnect"),
  );
  if (calls.length === 0) {
    const why = post.open ? "No call yet: it is queued." : "No call.";
    side.append(el("p", { class: "soft" }, why));
  }
  for (const { call, by } of calls) side.append(buildCall(call, by));
  return side;
}

function buildCall(call, by) {
  const parts = [el("p", { class: "line" }, el("code", {}, `${call.method} ${call.path}`))];
  const facts = {};
  if (call.id !== null) facts["message id"] = call.id;
  if (call.tokenId !== null) facts.tokenId = call.tokenId;
  if (by === "time") facts["joined by"] = "time and recipients, because the relay returned no tokenId";
  if (call.fault !== null) facts.fault = FAULTS[call.fault] ?? call.fault;
  parts.push(headers(facts) ?? "");
  if (call.raw) parts.push(code(pretty(call.raw), "Raw JSON of the call"));
  parts.push(el("h4", {}, "Answer ", chip(call.status)));
  if (call.answer) parts.push(code(pretty(call.answer), "Answer of MobileConnect"));
  return el("div", { class: "call" }, ...parts);
}

// Queries the relay for unfinished posts after a call, a few times only.
let askTimers = [];
let lastAsked = -1;

function askOpenPosts() {
  const latest = shown.calls.at(-1)?.n ?? 0;
  const waiting = shown.posts.filter((post) => post.open).map((post) => post.n);
  if (waiting.length === 0 || latest === lastAsked) return;
  lastAsked = latest;
  askTimers.forEach(clearTimeout);
  askTimers = ASK_AGAIN_MS.map((wait) =>
    setTimeout(() => {
      for (const post of shown.posts) {
        if (post.open) tell(`/_control/posts/${post.n}/ask`).catch(() => {});
      }
    }, wait),
  );
}

// Faults.

const chosenRoute = () => document.querySelector("input[name=route]:checked").value;
const chosenTimes = () => Number(document.querySelector("input[name=times]:checked").value);

for (const [then, words] of Object.entries(FAULTS)) {
  const group = byId(CARRIED_OUT.has(then) ? "accepting" : "refusing");
  group.append(
    el("button", { type: "button", "data-then": then, title: then, onclick: () => toggleFault(then) }, words),
  );
}

function toggleFault(then) {
  const route = chosenRoute();
  if (shown.faults.some((fault) => fault.route === route && fault.then === then)) switchOff(route, then);
  else {
    const delay = then === "ok" ? { delayMs: 3000 } : {};
    act(tell("/_control/faults", [{ route, then, times: chosenTimes(), ...delay }]));
  }
}

function switchOff(route, then) {
  act(ask(`/_control/faults?${new URLSearchParams({ route, then })}`, { method: "DELETE" }));
}

function renderFaults() {
  const rows = shown.faults.map((fault, index) => ({ ...fault, key: `${index} ${fault.route} ${fault.then}` }));
  reconcile(byId("on"), rows, (row) => row.key, (fault) => {
    const kind = CARRIED_OUT.has(fault.then) ? "carried out, " : "";
    const name = `${fault.route}: ${kind}${FAULTS[fault.then]}`;
    return el(
      "li", {},
      el("span", {}, name, " ", el("small", {}, fault.times === -1 ? "until switched off" : `${fault.times} ×`)),
      el(
        "button",
        { type: "button", "aria-label": `Switch off ${name}`, onclick: () => switchOff(fault.route, fault.then) },
        "Switch off",
      ),
    );
  });
  byId("none-on").hidden = rows.length > 0;
  byId("all-off").disabled = rows.length === 0;
  for (const button of document.querySelectorAll("[data-then]")) {
    const on = rows.some(({ route, then }) => route === chosenRoute() && then === button.dataset.then);
    button.setAttribute("aria-pressed", String(on));
  }
}

for (const radio of document.querySelectorAll("input[name=route]")) {
  radio.addEventListener("change", renderFaults);
}
byId("all-off").addEventListener("click", () => act(ask("/_control/faults", { method: "DELETE" })));

function act(doing) {
  doing.catch((error) => { byId("news").textContent = error.message; });
}

// Formats a request as a command. The page does not have the relay's key: `make -s env` sets API_KEY.

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(body, requestHeaders) {
  const all = { "Content-Type": "application/json", ...requestHeaders };
  return [
    `curl -i ${quoted(`${shown.relay.apiUrl ?? "API_URL"}/messages`)}`,
    '-H "x-api-key: $API_KEY"',
    ...Object.entries(all).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`),
    `--data-raw ${quoted(body)}`,
  ].join(" \\\n  ");
}

async function copyCurl(event, body, requestHeaders) {
  const button = event.currentTarget;
  try {
    await navigator.clipboard.writeText(curl(body, requestHeaders));
    button.textContent = "Copied";
    byId("news").textContent = "The command is copied. It needs the variable API_KEY.";
  } catch {
    button.textContent = "The browser does not allow copying";
  }
  setTimeout(() => { button.textContent = "Copy as curl"; }, 2000);
}

// Clock and reset.

byId("hour").addEventListener("click", () => act(tell("/_control/clock", { advanceSeconds: 3600 })));
byId("reset").addEventListener("click", () => byId("sure").showModal());
byId("sure").addEventListener("close", () => {
  if (byId("sure").returnValue === "yes") act(tell("/_control/reset"));
  byId("sure").returnValue = "";
});

function renderClock() {
  const minutes = Math.round(clock.ahead / 60);
  const parts = [];
  if (minutes >= 60) parts.push(`${Math.floor(minutes / 60)} h`);
  if (minutes % 60) parts.push(`${minutes % 60} min`);
  byId("clock").textContent = parts.length ? `clock ${parts.join(" ")} ahead` : "";
}

// The form.

const form = byId("form");
const field = (name) => form.elements.namedItem(name);
const TEXTS = ["message", "text", "keyword", "sendAt", "mediaUrl", "reference", "onUnknown"];
const FLAGS = ["subscribe", "resubscribe"];
const OFFSET = /^[+-]\d\d:\d\d$/;
let samples = {};
// A sample is posted exactly as in its file, unless it was changed.
let untouched = null;

function written() {
  if (byId("form-view").hidden) return byId("json").value;
  return untouched ?? JSON.stringify(fromForm(), null, 2);
}

function fromForm() {
  const value = (name) => field(name).value;
  const body = { message: value("message"), to: value("to").split("\n").map((line) => line.trim()).filter(Boolean).map(recipient) };
  for (const name of TEXTS) if (name !== "message" && value(name) !== "") body[name] = value(name);
  for (const name of FLAGS) if (field(name).checked) body[name] = true;
  const zone = value("quietZone");
  if (value("quietStart") || value("quietEnd") || zone) {
    body.quietHours = { start: value("quietStart"), end: value("quietEnd") };
    if (zone) body.quietHours[OFFSET.test(zone) ? "utcOffset" : "timezone"] = zone;
  }
  return body;
}

// A line that is not JSON is a number; the relay checks it.
function recipient(line) {
  return (line.startsWith("{") ? parsed(line) : null) ?? line;
}

// Returns why the form can't show this JSON, or null if it can.
function toForm(text) {
  const body = parsed(text);
  if (body === null || typeof body !== "object" || Array.isArray(body)) return "it is not a JSON object";
  const { to, quietHours = {}, idempotencyKey = null, ...others } = body;
  const known = new Set([...TEXTS, ...FLAGS]);
  for (const [name, value] of Object.entries(others)) {
    if (!known.has(name)) return `it has the field ${name}`;
    if (typeof value !== (FLAGS.includes(name) ? "boolean" : "string")) return `${name} has another type`;
  }
  if (!Array.isArray(to)) return "to is not a list";
  if (quietHours === null || typeof quietHours !== "object") return "quietHours is not an object";
  const { start = "", end = "", timezone = "", utcOffset = "", ...more } = quietHours;
  if (Object.keys(more).length || (timezone && utcOffset)) return "quietHours holds more";
  for (const name of TEXTS) field(name).value = body[name] ?? "";
  for (const name of FLAGS) field(name).checked = body[name] ?? false;
  field("to").value = to.map((entry) => (typeof entry === "string" ? entry : JSON.stringify(entry))).join("\n");
  field("quietStart").value = start;
  field("quietEnd").value = end;
  field("quietZone").value = timezone || utcOffset;
  if (idempotencyKey !== null) byId("key").value = String(idempotencyKey);
  return null;
}

function view(asJson) {
  byId("form-view").hidden = asJson;
  byId("json-view").hidden = !asJson;
  byId("as-form").setAttribute("aria-pressed", String(!asJson));
  byId("as-json").setAttribute("aria-pressed", String(asJson));
}

function cannotShow(why) {
  byId("cannot-show").hidden = why === null;
  byId("cannot-show").textContent = why === null ? "" : `Shown as JSON: the form has no place for it, as ${why}.`;
}

byId("as-json").addEventListener("click", () => {
  byId("json").value = written();
  cannotShow(null);
  view(true);
});

byId("as-form").addEventListener("click", () => {
  if (!byId("form-view").hidden) return;
  const why = toForm(byId("json").value);
  cannotShow(why);
  if (why === null) {
    untouched = byId("json").value;
    view(false);
  }
});

byId("form-view").addEventListener("input", () => { untouched = null; });

byId("in-an-hour").addEventListener("click", () => {
  field("sendAt").value = `${new Date(now().getTime() + 3600_000).toISOString().slice(0, 19)}Z`;
  untouched = null;
});

byId("sample").addEventListener("change", () => {
  const text = samples[byId("sample").value];
  if (text === undefined) return;
  byId("key").value = "";
  const why = toForm(text);
  cannotShow(why);
  byId("json").value = text;
  untouched = text;
  if (why !== null) view(true);
});

const ordered = () =>
  ({ body: written(), idempotencyKey: byId("key").value, respondAsync: byId("async").checked });

byId("copy").addEventListener("click", (event) => {
  const { body, idempotencyKey, respondAsync } = ordered();
  const more = {};
  if (idempotencyKey) more["Idempotency-Key"] = idempotencyKey;
  if (respondAsync) more.Prefer = "respond-async";
  copyCurl(event, body, more);
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("[type=submit]");
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  button.textContent = "Posting …";
  const order = ordered();
  try {
    const post = await tell("/_control/post", order);
    showResult(inShort(post));
  } catch (error) {
    showResult([el("p", { class: "notice" }, error.message)]);
  } finally {
    button.setAttribute("aria-disabled", "false");
    button.textContent = "Post";
  }
});

function showResult(parts) {
  const close = el("button", { type: "button", class: "close", onclick: () => showResult([]) }, "Close");
  byId("result").replaceChildren(...(parts.length ? [close, ...parts] : []));
  byId("result").scrollIntoView({ block: "nearest" });
}

function renderRelay() {
  byId("docs").hidden = !shown.relay.known;
  if (shown.relay.known) byId("docs").href = `${shown.relay.apiUrl}/docs`;
  byId("no-relay").hidden = shown.relay.known;
  byId("fields").disabled = !shown.relay.known;
}

field("message").value = "MzA6Nzg6MA";
field("to").value = "+1 212 555 0100";
field("text").value = "Your order 8812 is on its way.";

// Refreshes the whole page.

function render() {
  sends = relaySends();
  renderClock();
  renderPhones();
  renderRequests();
  renderFaults();
  renderRelay();
  watchDue();
  askOpenPosts();
  first = false;
  document.documentElement.dataset.ready = "true";
}

ask("/_phone/samples").then((loaded) => {
  samples = loaded;
  byId("sample").append(...Object.keys(samples).map((name) => el("option", { value: name }, name.replaceAll("-", " "))));
}).catch(() => {});
listen();
