// Calls to the other services.

const TIMEOUT = 5000;

/**
 * Finds another service: <NAME>_URL where it is set, else the address that Kubernetes puts into each container as
 * <NAME>_SERVICE_HOST and <NAME>_SERVICE_PORT, else its name in the cluster's DNS.
 */
export function url(env, service) {
  const name = service.toUpperCase().replaceAll('-', '_');
  if (env[`${name}_URL`]) return env[`${name}_URL`].replace(/\/$/, '');
  const host = env[`${name}_SERVICE_HOST`];
  if (!host) return `http://${service}`;
  return `http://${host.includes(':') ? `[${host}]` : host}:${env[`${name}_SERVICE_PORT`] ?? 80}`;
}

/** An answer of another service that is not a success. */
export class Refused extends Error {
  constructor(service, status, message) {
    super(`${service}: ${message}`);
    this.status = status;
  }
}

/** A function that calls one service and returns its JSON, undefined for an empty answer. */
export function client(service, base) {
  return async (method, path, body) => {
    let response;
    try {
      response = await fetch(base + path, {
        method,
        body: body === undefined ? undefined : JSON.stringify(body),
        headers: { 'content-type': 'application/json' },
        signal: AbortSignal.timeout(TIMEOUT),
      });
    } catch (error) {
      throw new Refused(service, 502, `cannot be reached (${error.cause?.code ?? error.name})`);
    }
    const text = await response.text();
    const value = text === '' ? undefined : JSON.parse(text);
    if (!response.ok) throw new Refused(service, response.status, value?.error ?? response.statusText);
    return value;
  };
}
