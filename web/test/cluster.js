// A cluster's document for the tests, as an agent would send it, with what a test wants to be different.

export function member(name, more = {}) {
  return {
    name, role: "replica", state: "running", sync_state: "quorum", timeline: 3, position: "0/5000060", client_addr: "127.0.0.1",
    lag_bytes: 0, lag_seconds: 0, unreceived_bytes: 0, unflushed_bytes: 0, lag_trend: null, catch_up_seconds: null, alert: "ok",
    tags: {}, host: "127.0.0.1", sql_port: 15001, api_port: 15101, pending_restart: false, upstream: null, remarks: [], detail: null, ...more,
  };
}

export function cluster(more = {}, members) {
  return {
    cluster: "lab", engine: "postgres", term: 7, leader: "m1", open: true, durability: "quorum", degraded: false, health: "healthy",
    paused: false, intent: null, reporter: "m2", profile: "standard", engine_version: "15.18", problems: [], commits_wait: false, answers: 2,
    members: members ?? [member("m1", { role: "leader", sync_state: null, lag_bytes: null }), member("m2", { api_port: 15102 }), member("m3", { api_port: 15103 })],
    ...more,
  };
}
