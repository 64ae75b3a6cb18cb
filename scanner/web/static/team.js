// One inspector of a team grades one by one. Nothing of others is here before the own grade.
import { post, say, uuid } from "./page.js";
import { flush } from "./outbox.js";
import { grade, links, list, position } from "./grading.js";

const data = JSON.parse(document.getElementById("data").textContent);
const base = `/grade/${data.name}`;
const byId = (id) => document.getElementById(id);

// Facts as they come from the server, in words.
const worded = (facts) => Object.fromEntries(Object.entries(facts).map(([name, value]) => [
  name.replaceAll("_", " "), typeof value === "number" && !Number.isInteger(value) ? value.toFixed(2) : value,
]));

function feedback(told) {
  const line = byId("feedback"), one = told?.[0];
  line.className = one ? (one.right ? "right" : "wrong") : "";
  line.textContent = one ? (one.truth === "lens" ? "it was a lens" : "it was none") : "";
}

if (data.objects.length) {
  let inView = () => null;

  async function describe(object) {
    byId("reveal").disabled = !object.grade;
    byId("facts").replaceChildren();
    try {
      const answer = await fetch(`${base}/objects/${object.key}`);
      const told = await answer.json();
      if (inView() !== object) return;
      if (answer.ok) byId("facts").replaceChildren(list(worded(told.columns)));
      else say(told.message);
    } catch {
      // The server does not answer: the outbox says so, and the pixels may be here already.
    }
  }

  async function reveal() {
    const object = inView();
    await flush();
    try {
      const told = await post(`${base}/objects/${object.key}/reveal`, { batch: uuid() });
      object.seen = true;
      const facts = { position: position(told.row) };
      if (told.truth) facts["known to be"] = `${told.painted ? "painted " : ""}${told.truth}`;
      for (const name of ["known_as", "score", "score_lens", "probability", "similarity"]) if (name in told.row) facts[name] = told.row[name];
      for (const one of told.said) facts[one.inspector] = [one.grade, one.class, one.comment].filter(Boolean).join(" · ");
      facts["mean grade"] = told.mean;
      facts["final grade"] = told.final;
      byId("facts").replaceChildren(list(worded(facts)), links(told.links));
    } catch (error) {
      say(error.message);
    }
  }

  byId("reveal").addEventListener("click", reveal);
  document.addEventListener("saved", (event) => feedback(event.detail.feedback));
  ({ inView } = grade(data, {
    windows: (object) => `${base}/windows/${object.key}`,
    wide: (object) => `${base}/wide/${object.key}`,
    state: (at) => `?at=${at}`,
    describe,
    verdicts: (object, said, stretch) => [`${base}/verdicts`, { verdicts: [{ key: object.key, ...said }], stretch }],
    undo: `${base}/undo`,
    wasUndone: (done, object) => done.keys.includes(object.key),
  }));
}
