// Verdicts on their way: kept in the browser until the server says that they are on disk, and sent again until then.
import { post, say, uuid } from "./page.js";

// A letter belongs to one project: the next server of this address may serve another.
const OUTBOX = `outbox ${JSON.parse(document.getElementById("data").textContent).project} `;

// Each letter has a key of its own, so that two windows never write over each other's; keys sort by time.
let count = 0;
const put = (letter) => localStorage.setItem(`${OUTBOX}${Date.now()} ${String(count++).padStart(6, "0")} ${uuid()}`, JSON.stringify(letter));
const waiting = () => Object.keys(localStorage).filter((key) => key.startsWith(OUTBOX)).sort();

let sending = null, isTold = false;

// Resolves when everything that was put in has arrived. What the server refuses for good is told and dropped.
export function flush() {
  sending ??= (async () => {
    for (let keys = waiting(); keys.length; keys = waiting()) {
      const letter = JSON.parse(localStorage.getItem(keys[0]));
      try {
        // Another window may have sent it meanwhile; sent twice, it counts once.
        if (letter) document.dispatchEvent(new CustomEvent("saved", { detail: await post(letter.address, letter.body) }));
      } catch (error) {
        if (error.status >= 400 && error.status < 500 && ![401, 403, 408, 429].includes(error.status)) {
          say(`Not saved: ${error.message}`);
        } else {
          say(`${error.message} Your verdicts are kept here and sent again.`);
          isTold = true;
          await new Promise((resolve) => setTimeout(resolve, 1500));
          continue;
        }
      }
      localStorage.removeItem(keys[0]);
    }
    if (isTold) say("");
    isTold = false;
    document.body.dataset.unsent = "";
  })().finally(() => { sending = null; });
  return sending;
}

export async function send(address, body) {
  const letter = { address, body: { batch: uuid(), ...body } };
  try {
    put(letter);
  } catch {
    // The storage of the browser is full: the verdict is sent at once, and whoever gave it hears if that fails.
    const saved = await post(letter.address, letter.body).catch((error) => say(`Not saved: ${error.message}`));
    if (saved) document.dispatchEvent(new CustomEvent("saved", { detail: saved }));
  }
  document.body.dataset.unsent = waiting().length || "";
  return flush();
}

flush();
