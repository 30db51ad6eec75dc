// What would happen if something befell the cluster now: the agent's simulation in sentences. Pure; tested in web/test.
// The same core decides there as in earnest; nothing of it touches the live cluster.

import { seconds } from "./words.js";

/** What may be asked, with the questions' words: the leader's end first, then each zone's where there are several. */
export function questions(cluster) {
  if (!cluster?.open || !cluster.leader) return [];
  const zones = [...new Set(cluster.members.map((m) => m.tags?.zone).filter(Boolean))];
  const found = [{ query: `kill=${encodeURIComponent(cluster.leader)}`, text: `What if ${cluster.leader} died now?` }];
  if (zones.length > 1) for (const zone of zones) found.push({ query: `zone=${encodeURIComponent(zone)}`, text: `What if zone ${zone} went down?` });
  return found;
}

/** One end in a sentence. `often` tells how many of the draws ended so, where they did not all. */
export function sentence(foretold, end) {
  const often = end.draws === foretold.draws ? "" : ` in ${end.draws} of ${foretold.draws} draws`;
  if (!end.leader) {
    const why = end.because ? ` The members would say: ${end.because}.` : "";
    return `If ${foretold.suppose} now, nobody would lead${often}, and writes would stop until one of them is back.${why}`;
  }
  const most = end.gap_ms_max > end.gap_ms ? ` (${seconds(end.gap_ms_max / 1000)} at most)` : "";
  const gap = end.gap_ms ? `Writes would stop for ${seconds(end.gap_ms / 1000)}${most}.` : "Writes would go on.";
  const loss = end.lost_ms_max > 0
    ? `Acknowledged commits of the last ${end.lost_ms_max} ms before it could be lost.`
    : "No acknowledged commit would be lost.";
  return `If ${foretold.suppose} now, ${end.leader} would lead${often}. ${gap} ${loss}`;
}

/** Whether somebody should think about it: nobody would lead, or something would be lost. */
export function grave(foretold) {
  return foretold.ends.some((end) => !end.leader || end.lost_ms_max > 0);
}
