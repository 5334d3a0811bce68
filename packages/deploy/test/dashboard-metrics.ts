// Reads Grafana dashboards: which of Sluice's metrics their queries ask for.

/** Every metric of Sluice's (`sluice_...`, or istio-cni's names that it keeps) in the queries of a dashboard. */
export function dashboardMetrics(dashboard: unknown): ReadonlySet<string> {
  const names = new Set<string>();
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(visit);
    else if (typeof value === 'object' && value !== null) {
      for (const [key, child] of Object.entries(value)) {
        if ((key === 'expr' || key === 'query' || key === 'definition') && typeof child === 'string') {
          for (const [name] of child.matchAll(/\b(?:sluice|ztunnel|nodeagent)_[a-z0-9_]+\b/g)) names.add(name);
        } else visit(child);
      }
    }
  };
  visit(dashboard);
  return names;
}
