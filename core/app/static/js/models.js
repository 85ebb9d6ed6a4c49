/** The models that the server has, and a field to choose one. */
import { getModel, getState } from "./api.js";
import { selectField } from "./fields.js";

const described = new Map();
let state = null;

/** The server's state; asked once, or again with `again`. */
export async function serverState(again = false) {
  if (!state || again) state = await getState();
  return state;
}

/** The description of a model; asked once. */
export async function describeModel(name) {
  if (!described.has(name)) described.set(name, await getModel(name));
  return described.get(name);
}

/** Names of models: packaged ones and runs. */
export const nameOf = (one) => (typeof one === "string" ? one : one.name);

/** The names of all models that can be sampled. */
export async function modelNames() {
  const { models } = await serverState();
  return models.map(nameOf);
}

/** A field to choose a model. */
export async function modelField(label = "Model", value = null, names = null) {
  return selectField(label, names ?? (await modelNames()), { value });
}

/** Choices for the checkpoint of a model; "" is the newest. */
export const checkpointChoices = (model) => [
  ["", "newest"],
  ...(model.checkpoints ?? []).map((one) => [one.name, one.step ? `step ${one.step}` : one.name]),
];
