// The page of the explorer. All data arrives as plain values and is set as text, never as markup.

const COLUMNS = [
  ["key", "Key", "key"],
  ["task", "Task", "task"],
  ["outcome", "Outcome", "outcome"],
  ["now", "Now", ""],
  ["reason", "Reason", "reason"],
  ["field", "Field", "fields"],
  ["expected", "Expected", ""],
  ["found", "Found", ""],
  ["amount", "Amount", "amount"],
  ["country", "Country", "country"],
  ["age_days", "Days", "age_days"],
];
const FACETS = [
  ["code", "Reason"],
  ["field", "Field"],
  ["task", "Task"],
  ["country", "Country"],
  ["currency", "Currency"],
  ["state", "Since"],
  ["now", "Now"],
];
const DETAILS = ["Field", "At the source", "Rule", "Expected", "Found", "Outcome", "Reason", "Remedy"];
const BUSY = ["planning", "approving", "sending", "reading"];
const DEBOUNCE_MS = 200;
const RESEND_MS = 4000;
const PATIENCE_MS = 3000;
const count = new Intl.NumberFormat("en-US");
let made = 0;

const there = (children) => children.filter((child) => child !== null && child !== undefined && child !== false);

function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...there(children));
  return node;
}

const text = (value) => (value === null || value === undefined ? "" : String(value));

function table(told, name) {
  const right = told.columns.map((_, at) => told.rows.every((row) => /^[-\d,.]*( [A-Z]{3})?$/.test(row[at])));
  return h("div", { class: "p2c-scroll" },
    h("table", { class: "p2c-table", "aria-label": name },
      h("thead", {}, h("tr", {}, ...told.columns.map((one, at) => h("th", { scope: "col", class: right[at] ? "p2c-right" : "" }, one)))),
      h("tbody", {}, ...told.rows.map((row) =>
        h("tr", {}, ...row.map((one, at) => h("td", { class: right[at] ? "p2c-right" : "", dir: "auto" }, one)))))));
}

function render({ model, el }) {
  const id = `p2c-${++made}`;
  const state = {
    query: structuredClone(model.get("view").query ?? {}),
    asked: model.get("view").asked ?? 0,
    active: 0,
    by: "",
    waits: new Map(), // ticks that the kernel has not said it saved
    lastId: 0,
    timer: 0,
    silence: 0,
    opener: null,
  };
  const view = () => model.get("view");
  // Without an answer the kernel is at work on something else, or gone: the page says so, and does not pretend.
  function say(message) {
    state.silence ||= setTimeout(() => { silent.hidden = false; }, PATIENCE_MS);
    try {
      model.send(message);
    } catch (error) {
      console.warn("explorer:", String(error)); // the kernel was shut down; the page says that it does not answer
    }
  }
  function heard() {
    clearTimeout(state.silence);
    state.silence = 0;
    silent.hidden = true;
  }

  // --- asking ---------------------------------------------------------------------------------------------------
  function ask(change, later = false) {
    state.query = { ...state.query, page: 0, ...change };
    clearTimeout(state.timer);
    if (later) state.timer = setTimeout(send, DEBOUNCE_MS);
    else send();
  }
  function send() {
    clearTimeout(state.timer);
    root.classList.add("p2c-asking");
    say({ kind: "query", query: state.query, asked: ++state.asked });
  }
  function save(message) {
    const key = `${id}-${++state.lastId}`;
    state.waits.set(key, message);
    say({ ...message, id: key });
    drawTicks();
  }
  // A tick is idempotent: one that was not answered, the connection being gone, is said again until it is.
  const resend = setInterval(() => state.waits.forEach((message, key) => say({ ...message, id: key })), RESEND_MS);

  // --- parts that stay ------------------------------------------------------------------------------------------
  const tiles = h("div", { class: "p2c-tiles", role: "group", "aria-label": "Outcomes" });
  const search = h("input", {
    type: "search", class: "p2c-search", placeholder: "Search keys, values, reasons  ( / )", "aria-label": "Search text",
    value: state.query.text ?? "", oninput: () => ask({ text: search.value }, true),
  });
  const range = (name, label, hint) => h("input", {
    type: "text", inputmode: "decimal", class: "p2c-range", placeholder: hint, "aria-label": label,
    value: state.query[name] ?? "",
    oninput: (event) => ask({ [name]: event.target.value }, true),
  });
  const ranges = {
    amount_from: range("amount_from", "Amount from", "from"), amount_to: range("amount_to", "Amount to", "to"),
    age_from: range("age_from", "Days from", "from"), age_to: range("age_to", "Days to", "to"),
  };
  const facets = Object.fromEntries(FACETS.map(([name, label]) => {
    const filter = h("input", { type: "text", class: "p2c-narrow", placeholder: "narrow the list", "aria-label": `Narrow ${label}`,
      oninput: () => drawFacet(name) });
    const list = h("div", { class: "p2c-list", role: "group", "aria-label": label });
    const summary = h("summary", {}, label);
    const box = h("details", { class: "p2c-facet" }, summary, h("div", { class: "p2c-drop" }, filter, list));
    box.addEventListener("toggle", () => { if (box.open) closeFacets(box); });
    return [name, { label, filter, list, summary, box }];
  }));
  const chips = h("div", { class: "p2c-chips" });
  const problem = h("div", { class: "p2c-problem", role: "alert" });
  const status = h("div", { class: "p2c-status", role: "status", "aria-live": "polite" });
  const ticks = h("div", { class: "p2c-ticks" });
  const head = h("tr", {});
  const body = h("tbody", {});
  const grid = h("table", { class: "p2c-grid", role: "grid", tabindex: "0", "aria-label": "Records" }, h("thead", {}, head), body);
  const pager = h("div", { class: "p2c-pager", role: "navigation", "aria-label": "Pages" });
  const record = h("section", { class: "p2c-record", hidden: true, tabindex: "-1", "aria-label": "Record" });
  const work = h("section", { class: "p2c-work", hidden: true, "aria-label": "Plan" });
  const silent = h("p", { class: "p2c-silent", role: "status", hidden: true },
    "The kernel does not answer: it is at work, or gone. This is the page as it was; run the cell again where nothing comes. Ticks that are saved stay.");
  const root = h("div", { class: "p2c-explorer", "data-lm-suppress-shortcuts": "true", "data-jp-suppress-context-menu": "true" },
    silent, tiles,
    h("div", { class: "p2c-filters", role: "search" },
      search, ...FACETS.map(([name]) => facets[name].box),
      h("span", { class: "p2c-pair" }, h("span", {}, "Amount"), ranges.amount_from, ranges.amount_to),
      h("span", { class: "p2c-pair" }, h("span", {}, "Days"), ranges.age_from, ranges.age_to)),
    chips, problem,
    h("div", { class: "p2c-bar" }, status, ticks),
    h("div", { class: "p2c-scroll p2c-frame" }, grid),
    h("div", { class: "p2c-bar" }, pager,
      h("span", { class: "p2c-keys" }, "↑ ↓ move · Page ↑ ↓ turn · Enter opens · Space ticks · / searches · Esc closes")),
    record, work);

  function closeFacets(but) {
    for (const { box } of Object.values(facets)) if (box !== but) box.open = false;
  }

  // --- drawing --------------------------------------------------------------------------------------------------
  function toggle(name, value) {
    const chosen = new Set(state.query[name] ?? []);
    if (!chosen.delete(value)) chosen.add(value);
    ask({ [name]: [...chosen] });
  }
  const named = (value) => (value === "" ? "(none)" : value);

  function drawTiles() {
    const chosen = state.query.outcome ?? [];
    const held = root.contains(document.activeElement) && document.activeElement.dataset.outcome;
    tiles.replaceChildren(...view().tiles.map(({ outcome, rows, of }) => {
      const isAll = outcome === "matched";
      return h(isAll ? "div" : "button", {
        class: `p2c-tile p2c-${outcome}`, type: isAll ? null : "button", "data-outcome": outcome,
        "aria-pressed": isAll ? null : String(chosen.includes(outcome)),
        title: isAll ? "Rows in step; they are counted, there is nothing to explore" : `Show only what is ${outcome}`,
        onclick: isAll ? null : () => toggle("outcome", outcome),
      },
      h("b", {}, count.format(isAll ? of : rows)), h("span", {}, outcome),
      h("small", {}, !isAll && rows !== of ? `of ${count.format(of)}` : ""));
    }));
    if (held) tiles.querySelector(`button[data-outcome="${held}"]`)?.focus();
  }

  function drawFacet(name) {
    const { label, filter, list, summary, box } = facets[name];
    const told = view().facets[name] ?? [];
    const chosen = new Set(state.query[name] ?? []);
    box.hidden = told.length === 0 || (told.length === 1 && told[0][0] === "" && !chosen.size);
    summary.textContent = chosen.size ? `${label} (${chosen.size})` : label;
    summary.classList.toggle("p2c-on", chosen.size > 0);
    filter.hidden = told.length < 12;
    const wanted = filter.value.trim().toLowerCase();
    const shown = told.filter(([value, words]) => !wanted || `${value} ${words}`.toLowerCase().includes(wanted));
    const held = list.contains(document.activeElement) ? document.activeElement.value : null;
    list.replaceChildren(...shown.map(([value, words, rows]) => h("label", { title: value },
      h("input", { type: "checkbox", value, ...(chosen.has(value) ? { checked: true } : {}), onclick: () => toggle(name, value) }),
      h("span", { dir: "auto" }, named(words)), h("i", {}, count.format(rows)))));
    if (held !== null) [...list.querySelectorAll("input")].find((one) => one.value === held)?.focus();
  }

  function drawChips() {
    const shown = [];
    const chip = (words, change) => shown.push(h("button", { type: "button", class: "p2c-chip", title: "Take this filter away",
      onclick: () => { ask(change); drawInputs(true); } }, h("span", { dir: "auto" }, words), " ×"));
    for (const name of ["outcome", ...FACETS.map(([one]) => one)]) {
      const labels = new Map((view().facets[name] ?? []).map(([value, words]) => [value, words]));
      for (const value of state.query[name] ?? [])
        chip(`${facets[name]?.label ?? "Outcome"}: ${named(labels.get(value) ?? value)}`,
          { [name]: state.query[name].filter((one) => one !== value) });
    }
    const plain = { text: "Text", amount_from: "Amount from", amount_to: "Amount to", age_from: "Days from", age_to: "Days to" };
    for (const [name, label] of Object.entries(plain))
      if (text(state.query[name])) chip(`${label}: ${state.query[name]}`, { [name]: "" });
    if (state.query.ticked) chip("Ticked only", { ticked: false });
    if (shown.length > 1) shown.push(h("button", { type: "button", class: "p2c-link", onclick: () => {
      state.query = {}; drawInputs(true); send();
    } }, "clear all"));
    chips.replaceChildren(...shown);
  }

  function drawInputs(force = false) {
    for (const [name, input] of Object.entries({ text: search, ...ranges }))
      if (force || document.activeElement !== input) input.value = text(state.query[name]);
  }

  function drawTicks() {
    const { rows, ticked, ticked_here: here } = view();
    const stage = model.get("work").stage;
    const button = (label, action, off, extra = "") =>
      h("button", { type: "button", class: `p2c-button ${extra}`, disabled: off, onclick: action }, label);
    ticks.replaceChildren(...there([
      h("span", { class: "p2c-count" }, `${count.format(ticked)} ticked`, ticked && here !== ticked ? `, ${count.format(here)} of them here` : ""),
      state.waits.size ? h("span", { class: "p2c-waits" }, `${state.waits.size} not saved yet`) : null,
      button(`Tick all ${count.format(rows)}`, () => save({ kind: "tick_all", on: true }), !rows || here === rows),
      button("Untick these", () => save({ kind: "tick_all", on: false }), !here),
      button(state.query.ticked ? "Show all" : "Show ticked", () => ask({ ticked: !state.query.ticked }), !ticked && !state.query.ticked),
      button("Plan the ticked", () => { say({ kind: "plan" }); }, !ticked || BUSY.includes(stage), "p2c-main")]));
  }

  function drawHead() {
    const { records } = view();
    const all = records.length > 0 && records.every((one) => one.ticked);
    const page = h("input", { type: "checkbox", "aria-label": "Tick this page", ...(all ? { checked: true } : {}),
      onclick: () => save({ kind: "tick", records: records.map((one) => one.record), on: !all }) });
    head.replaceChildren(h("th", { class: "p2c-box" }, page), ...COLUMNS.map(([name, label, sort]) => {
      const isBy = sort && state.query.sort === sort;
      const arrow = isBy ? (state.query.descending ? " ↓" : " ↑") : "";
      return h("th", { scope: "col", class: `p2c-c-${name}`, "aria-sort": isBy ? (state.query.descending ? "descending" : "ascending") : null },
        sort ? h("button", { type: "button", class: "p2c-sort", title: `Sort all records by ${label.toLowerCase()}`, "data-sort": sort,
          onclick: () => sortBy(sort) }, label + arrow) : label);
    }));
  }
  function sortBy(sort) {
    const first = ["amount", "age_days"].includes(sort); // the largest comes first there
    const isDown = Boolean(state.query.descending);
    if (state.query.sort !== sort) ask({ sort, descending: first });
    else if (isDown === first) ask({ descending: !first });
    else ask({ sort: "", descending: false });
  }

  function drawBody() {
    const { records } = view();
    state.active = Math.min(state.active, Math.max(records.length - 1, 0));
    const opened = model.get("record").record;
    body.replaceChildren(...records.map((one, at) => {
      const cell = {
        field: one.more > 0 ? `${one.field} +${one.more}` : one.field,
        age_days: one.age_days === null || one.age_days === undefined ? "" : count.format(Math.round(one.age_days)),
        key: one.key || "(blank)",
      };
      return h("tr", {
        id: `${id}-row-${at}`, role: "row", "aria-selected": String(one.ticked),
        class: [at === state.active ? "p2c-active" : "", one.ticked ? "p2c-ticked" : "", one.record === opened ? "p2c-open" : ""].join(" "),
        onclick: () => { activate(at); open(); },
      },
      h("td", { class: "p2c-box", onclick: (event) => event.stopPropagation() },
        h("input", { type: "checkbox", tabindex: "-1", "aria-label": `Tick ${one.key}`, ...(one.ticked ? { checked: true } : {}),
          onclick: () => { activate(at); tick(); } })),
      ...COLUMNS.map(([name]) => h("td", { role: "gridcell", class: `p2c-c-${name}`, dir: "auto", title: name === "reason" ? `${one.reason}\n${one.remedy}` : null },
        name === "outcome" ? h("span", { class: `p2c-mark p2c-${one.outcome}` }, one.outcome)
          : name === "now" && one.now ? h("span", { class: `p2c-now ${one.now === "in step" ? "p2c-good" : "p2c-bad"}` }, one.now)
            : text(cell[name] ?? one[name]))));
    }));
    if (!records.length) body.append(h("tr", {}, h("td", { colspan: COLUMNS.length + 1, class: "p2c-none" }, "No record fits these filters.")));
    grid.classList.toggle("p2c-one-task", (view().facets.task ?? []).length < 2 && !(state.query.task ?? []).length);
    grid.classList.toggle("p2c-no-now", !records.some((one) => one.now));
    grid.setAttribute("aria-activedescendant", records.length ? `${id}-row-${state.active}` : "");
    grid.setAttribute("aria-rowcount", String(view().rows));
  }

  function drawPager() {
    const { page, pages } = view();
    const go = (label, to, off, name) => h("button", { type: "button", class: "p2c-button", disabled: off, "aria-label": name, onclick: () => turn(to) }, label);
    pager.replaceChildren(
      go("«", 0, page === 0, "First page"), go("‹", page - 1, page === 0, "Page before"),
      h("span", {}, `page ${count.format(page + 1)} of ${count.format(pages)}`),
      go("›", page + 1, page >= pages - 1, "Next page"), go("»", pages - 1, page >= pages - 1, "Last page"));
  }
  function turn(page, active = 0) {
    const last = view().pages - 1;
    const to = Math.max(0, Math.min(page, last));
    state.active = active;
    state.query = { ...state.query, page: to };
    send();
  }

  function drawStatus() {
    const { rows, of, stake } = view();
    const worth = stake.length ? ` · at stake ${stake.slice(0, 4).join(" · ")}${stake.length > 4 ? " …" : ""}` : "";
    status.textContent = (rows === of ? `${count.format(of)} records` : `${count.format(rows)} of ${count.format(of)} records`) + worth;
    problem.textContent = view().problem ?? "";
    problem.hidden = !view().problem;
  }

  function drawRecord() {
    const told = model.get("record");
    record.hidden = !("record" in told);
    if (record.hidden) { record.replaceChildren(); return; }
    const parts = told.parts.map((part) => h("div", { class: "p2c-part" },
      h("h4", {}, part.title, h("small", {}, ` ${part.task}`)),
      ...(part.rows.length ? part.rows.map((row) => rowDetails(row, part)) : [h("p", {}, "None on either side.")]),
      part.left_out ? h("p", {}, `${count.format(part.left_out)} more rows are in the run's folder.`) : null));
    record.replaceChildren(
      h("div", { class: "p2c-title" },
        h("h3", { dir: "auto" }, told.title), h("span", { class: `p2c-mark p2c-${told.outcome}` }, told.outcome),
        h("button", { type: "button", class: "p2c-button p2c-close", "aria-label": "Close the record", onclick: close }, "×")),
      h("p", { dir: "auto" }, h("b", {}, told.reason), told.remedy ? ` → ${told.remedy}` : ""),
      ...(told.is_loading ? [h("p", { class: "p2c-busy" }, "Reading both sides …")] : []),
      ...(told.problem ? [h("p", { class: "p2c-problem" }, told.problem)] : []),
      ...parts,
      ...(told.is_loading || told.problem ? [] : [h("h4", {}, "In earlier runs and this one"),
        told.earlier.length ? table({
          columns: ["Run", "Field", "Outcome", "Reason", "Expected", "Found", "Amount"],
          rows: told.earlier.map((one) => [`${one.started}  ${one.run}`, one.field, one.outcome, one.reason, one.expected, one.found, one.amount]),
        }, "Earlier runs") : h("p", {}, "No run of the history knows it.")]));
  }
  function rowDetails(row, part) {
    const lone = row.side !== "both";
    const said = lone ? `at the ${row.side} only${row.reason ? `: ${row.reason}` : ""}` : `${row.differ} of ${row.fields.length} fields differ`;
    const isSame = (one) => ["agrees", "not compared", ""].includes(one[5]);
    const fields = (shown) => h("div", { class: "p2c-scroll" }, h("table", { class: "p2c-table p2c-fields" },
      h("thead", {}, h("tr", {}, ...DETAILS.map((one) => h("th", { scope: "col" }, one)))),
      h("tbody", {}, ...shown.map((one) => h("tr", { class: isSame(one) ? "p2c-same" : "p2c-differs" },
        ...one.map((value) => h("td", { dir: "auto" }, value)))))));
    const same = row.fields.filter(isSame);
    const off = row.fields.filter((one) => !isSame(one));
    const folded = lone || !same.length ? null
      : h("details", { class: "p2c-agree" }, h("summary", {}, `${same.length} fields that agree`), fields(same));
    return h("details", { class: `p2c-row ${row.is_it ? "p2c-it" : ""}`, open: row.is_it || part.rows.length === 1 || row.differ > 0 },
      h("summary", {}, h("span", { dir: "auto" }, row.key || "(blank key)"), " ", h("span", { class: `p2c-mark p2c-${row.outcome}` }, row.outcome), ` ${said}`),
      lone ? fields(row.fields) : off.length ? fields(off) : null, folded);
  }

  function drawWork() {
    const told = model.get("work");
    work.hidden = !told.stage;
    if (work.hidden) return;
    const isBusy = BUSY.includes(told.stage);
    const held = document.activeElement?.dataset?.p2cName && root.contains(document.activeElement);
    const parts = [h("h3", {}, "Plan of what is ticked")];
    if (isBusy) {
      const bar = h("progress", told.total ? { max: told.total, value: told.done, "aria-label": "Progress" } : { "aria-label": "Progress" });
      const far = told.total ? `${count.format(told.done)} of ${count.format(told.total)}` : "";
      const bad = told.errors ? ` · ${count.format(told.errors)} not sent` : "";
      parts.push(h("div", { class: "p2c-busy", role: "status" }, bar, ` ${far} ${told.says ?? ""}${bad}`));
    }
    if (told.problem) parts.push(h("p", { class: "p2c-problem", role: "alert" }, told.problem));
    const plan = told.plan;
    if (plan?.hash) {
      parts.push(plan.sent ? table(plan.table, "Plan") : h("p", {}, "Nothing of what is ticked would be sent."));
      const more = [`plan ${plan.hash.slice(0, 12)}`, `${count.format(plan.sent)} of ${count.format(plan.ticked)} ticked keys would be sent`];
      if (plan.parents) more.push(`${count.format(plan.parents)} of them were not ticked: ticked rows wait for them`);
      if (plan.without) more.push(`for ${count.format(plan.without)} the plan has no action (extra, left out by the filter, blocked, or in step but for a total)`);
      if (plan.approved) more.push(`${count.format(plan.approved)} actions were approved before and go out with them`);
      parts.push(h("p", { class: "p2c-soft" }, more.join(" · ")));
      if (plan.held_rows) parts.push(h("details", {}, h("summary", {}, `${count.format(plan.held_rows)} ticked are held back`), table(plan.held, "Held back")));
      parts.push(approval(told, plan, isBusy));
    }
    if (told.says && !isBusy) parts.push(h("p", { class: told.stage === "sent" ? "p2c-done" : "p2c-soft", role: "status" }, told.says));
    if (told.result?.table) {
      parts.push(table(told.result.table, "Read back"));
      if (told.result.off_rows) parts.push(h("p", {}, `Not as wanted (${count.format(told.result.off_rows)}):`), table(told.result.off, "Not as wanted"));
    }
    work.replaceChildren(...there(parts));
    if (held) work.querySelector("[data-p2c-name]")?.focus();
  }
  function approval(told, plan, isBusy) {
    if (told.stage === "sent") return null;
    if (told.is_old) return h("p", { class: "p2c-problem" }, "Other records are ticked now: plan again before you approve.");
    if (!plan.sent) return null;
    const isApproved = told.is_approved;
    const approve = h("button", { type: "button", class: "p2c-button p2c-main p2c-approve", disabled: true,
      onclick: () => say({ kind: "approve", hash: plan.hash, by: state.by }) }, `Approve ${count.format(plan.sent)}`);
    const apply = h("button", { type: "button", class: "p2c-button p2c-send p2c-apply", disabled: !isApproved || isBusy,
      onclick: () => say({ kind: "apply", hash: plan.hash }) }, "Apply: send what is approved");
    const check = () => { approve.disabled = !state.by.trim() || isApproved || isBusy; };
    const by = h("input", { type: "text", class: "p2c-by", placeholder: "your name", "aria-label": "Who approves", "data-p2c-name": "by", value: state.by,
      disabled: isApproved || isBusy, oninput: (event) => { state.by = event.target.value; check(); } });
    check();
    return h("div", { class: "p2c-approval" }, h("label", {}, "Approved by ", by), approve, apply);
  }

  // --- moving ---------------------------------------------------------------------------------------------------
  function activate(at) {
    body.children[state.active]?.classList.remove("p2c-active");
    state.active = at;
    const row = body.children[at];
    row?.classList.add("p2c-active");
    row?.scrollIntoView({ block: "nearest" });
    grid.setAttribute("aria-activedescendant", `${id}-row-${at}`);
  }
  const current = () => view().records[state.active];
  function tick() {
    const one = current();
    if (one) save({ kind: "tick", records: [one.record], on: !one.ticked });
  }
  function open() {
    const one = current();
    if (one) say({ kind: "open", record: one.record });
  }
  function close() {
    say({ kind: "close" });
    grid.focus();
  }
  grid.addEventListener("keydown", (event) => {
    if (event.target !== grid) return;
    const last = view().records.length - 1;
    const { page, pages } = view();
    const moves = {
      ArrowDown: () => (state.active < last ? activate(state.active + 1) : page < pages - 1 && turn(page + 1)),
      ArrowUp: () => (state.active > 0 ? activate(state.active - 1) : page > 0 && turn(page - 1, view().page_rows - 1)),
      PageDown: () => page < pages - 1 && turn(page + 1, state.active),
      PageUp: () => page > 0 && turn(page - 1, state.active),
      Home: () => activate(0),
      End: () => activate(last),
      Enter: open,
      " ": tick,
    };
    if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    moves[event.key]();
  });
  root.addEventListener("keydown", (event) => {
    const isTyping = event.target.tagName === "INPUT" && event.target.type !== "checkbox";
    if (event.key === "/" && !isTyping) { event.preventDefault(); search.focus(); search.select(); }
    else if (event.key === "Escape") {
      event.preventDefault();
      closeFacets(null);
      if (!record.hidden && !isTyping) close();
      else grid.focus();
    }
    event.stopPropagation();
  });

  // --- listening ------------------------------------------------------------------------------------------------
  function drawView() {
    const told = view();
    if ((told.asked ?? 0) >= state.asked) {
      state.asked = told.asked ?? 0;
      root.classList.remove("p2c-asking");
      if (!told.problem) state.query = structuredClone(told.query);
    }
    drawTiles(); FACETS.forEach(([name]) => drawFacet(name)); drawChips(); drawInputs();
    drawStatus(); drawTicks(); drawHead(); drawBody(); drawPager();
  }
  const onView = () => { heard(); drawView(); };
  const onRecord = () => {
    heard();
    const was = state.opener;
    state.opener = model.get("record").record;
    drawRecord();
    drawBody();
    if (!record.hidden && state.opener !== was) record.scrollIntoView({ block: "nearest", behavior: "smooth" });
  };
  const onWork = () => { heard(); drawWork(); drawTicks(); };
  const onSaid = (message) => { heard(); if (message.kind === "saved" && state.waits.delete(message.id)) drawTicks(); };
  model.on("change:view", onView);
  model.on("change:record", onRecord);
  model.on("change:work", onWork);
  model.on("msg:custom", onSaid);
  const outside = (event) => { if (!event.composedPath().some((node) => node.classList?.contains("p2c-facet"))) closeFacets(null); };
  document.addEventListener("click", outside);
  el.append(root);
  drawView(); drawRecord(); drawWork();
  say({ kind: "hello", id: `${id}-hello` });
  return () => {
    clearInterval(resend);
    clearTimeout(state.timer);
    clearTimeout(state.silence);
    document.removeEventListener("click", outside);
    model.off("change:view", onView);
    model.off("change:record", onRecord);
    model.off("change:work", onWork);
    model.off("msg:custom", onSaid);
  };
}

export default { render };
