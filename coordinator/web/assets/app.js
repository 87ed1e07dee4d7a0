'use strict';

const state = document.querySelector('[data-state]');
const say = (text) => { if (state) state.textContent = text; };

// Follows a stream of events; the browser connects again by itself.
function follow(path, on) {
  const source = new EventSource(path);
  source.addEventListener('open', () => say('live'));
  source.addEventListener('error', () => say(source.readyState === EventSource.CLOSED ? 'not live: reload the page' : 'connecting again …'));
  source.addEventListener('problem', (e) => { say(JSON.parse(e.data)); source.close(); });
  source.addEventListener('end', () => { say(''); source.close(); });
  for (const [name, handle] of Object.entries(on)) source.addEventListener(name, (e) => handle(JSON.parse(e.data)));
  return source;
}

// The server made the text, and escaped what is not its own.
for (const part of document.querySelectorAll('[data-live]')) {
  follow(part.dataset.live, {
    page: (html) => {
      const places = [...part.querySelectorAll('.scroll')].map((s) => s.scrollLeft);
      part.innerHTML = html;
      part.querySelectorAll('.scroll').forEach((s, i) => { s.scrollLeft = places[i] ?? 0; });
    },
  });
}

for (const log of document.querySelectorAll('[data-log]')) {
  const toggle = document.querySelector('[data-follow]');
  let attempt = 0;
  const source = follow(log.dataset.log, {
    log: (part) => {
      if (attempt !== 0 && part.attempt !== attempt) log.append(`\n—— attempt ${part.attempt} ——\n`);
      attempt = part.attempt;
      log.append(part.text);
      if (toggle.checked) log.scrollTop = log.scrollHeight;
    },
  });
  // After a break the stream begins at the beginning.
  source.addEventListener('open', () => { log.textContent = ''; attempt = 0; });
  log.addEventListener('scroll', () => {
    if (log.scrollTop + log.clientHeight < log.scrollHeight - 40) toggle.checked = false;
  });
}

// `slipway dashboard` puts the token behind the #, which no server and no proxy sees.
const login = document.querySelector('[data-login]');
function signIn() {
  if (!login || location.hash.length < 2) return;
  login.elements.token.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, '', location.pathname);
  login.submit();
}
signIn();
window.addEventListener('hashchange', signIn);
