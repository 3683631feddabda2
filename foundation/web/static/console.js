// Starts the components of NHS.UK frontend. A file of its own, so that the content security policy needs no inline script.
import { initAll } from "./nhsuk-frontend-10.6.1.min.js";

document.body.classList.add("js-enabled", "nhsuk-frontend-supported");
initAll();
