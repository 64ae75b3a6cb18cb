// The overview of a project: a round from the grades so far.
import { post, say, token } from "./page.js";

const form = document.getElementById("rerank");
form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const values = new FormData(form);
  say("Ranking …");
  try {
    const made = await post("/hunt/rerank", { count: Number(values.get("count")), uncertain: Number(values.get("uncertain")) });
    location = made.at;
  } catch (error) {
    say(error.message);
  }
});

// Rounds that begin from the model's score, from known lenses, or from a list of the user.
async function begin(by, values) {
  if (by !== "list") return post("/hunt/rounds", { by, count: Number(values.get("count")) });
  const answer = await fetch("/hunt/lists", { method: "POST", headers: { "X-Scanner-Token": token }, body: values });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.message || "The server refused this.");
  return told;
}

for (const each of document.querySelectorAll("form[data-round]")) {
  each.addEventListener("submit", async (event) => {
    event.preventDefault();
    say("Listing …");
    try {
      const made = await begin(each.dataset.round, new FormData(each));
      location = made.at;
    } catch (error) {
      say(error.message);
    }
  });
}
