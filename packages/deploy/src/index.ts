// The package's public surface: what the repository's scripts and tests make of the chart, the image and the reference.
export { bundleCommand, type Bundle } from './bundle.js';
export { helmPath, renderChart, type RenderOptions } from './chart.js';
export { dashboardMetrics } from './dashboard.js';
export { validateManifest, validateManifests, type ManifestIssue } from './kubernetes-schema.js';
export { removeDaemonSet, type Removal, type RemovalOptions } from './removal.js';
export { chartPath, repositoryPath } from './repository.js';
