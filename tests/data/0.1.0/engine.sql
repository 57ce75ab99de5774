BEGIN TRANSACTION;
CREATE TABLE aliases (
	model_id VARCHAR(200) NOT NULL, 
	alias VARCHAR(50) NOT NULL, 
	number INTEGER, 
	pending INTEGER, 
	seen INTEGER, 
	generation INTEGER NOT NULL, 
	moved_at DATETIME NOT NULL, 
	CONSTRAINT pk_aliases PRIMARY KEY (model_id, alias)
);
INSERT INTO "aliases" VALUES('old_trees','production',1,NULL,1,1,'2026-11-23 04:14:25.760622');
INSERT INTO "aliases" VALUES('old_network','production',1,NULL,1,1,'2026-11-23 04:14:32.533283');
CREATE TABLE deployments (
	id INTEGER NOT NULL, 
	model_id VARCHAR(200) NOT NULL, 
	champion INTEGER NOT NULL, 
	challenger INTEGER, 
	strategy VARCHAR(20) NOT NULL, 
	generation INTEGER NOT NULL, 
	verdict VARCHAR(20), 
	started_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	CONSTRAINT pk_deployments PRIMARY KEY (id)
);
INSERT INTO "deployments" VALUES(1,'old_trees',1,NULL,'direct',1,NULL,'2026-11-23 04:14:25.769064',NULL);
INSERT INTO "deployments" VALUES(2,'old_network',1,NULL,'direct',1,NULL,'2026-11-23 04:14:32.540997',NULL);
CREATE TABLE drift_reports (
	id INTEGER NOT NULL, 
	model_id VARCHAR(200) NOT NULL, 
	number INTEGER NOT NULL, 
	window_start DATETIME NOT NULL, 
	window_end DATETIME NOT NULL, 
	n_rows INTEGER NOT NULL, 
	verdict VARCHAR(20) NOT NULL, 
	drifted_share FLOAT, 
	columns JSON NOT NULL, 
	quality JSON NOT NULL, 
	performance JSON NOT NULL, 
	run_id VARCHAR(32), 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_drift_reports PRIMARY KEY (id), 
	CONSTRAINT uq_drift_reports_model_id_number_window_start_window_end UNIQUE (model_id, number, window_start, window_end)
);
CREATE TABLE engine_alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT engine_alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "engine_alembic_version" VALUES('0001');
CREATE TABLE events (
	id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	kind VARCHAR(50) NOT NULL, 
	model_id VARCHAR(200), 
	number INTEGER, 
	actor VARCHAR(100) NOT NULL, 
	reason TEXT NOT NULL, 
	run_id VARCHAR(32), 
	facts JSON NOT NULL, 
	CONSTRAINT pk_events PRIMARY KEY (id)
);
INSERT INTO "events" VALUES(1,'2026-11-23 04:14:25.741076','registered','old_trees',1,'main','a candidate was made','f511f52b856044dfb3696a9a26385e0e','{"may_trade": false, "record": [{"gate": "data.checks", "value": 0.0, "comparison": "<=", "limit": 0.0, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "causality", "value": 0.0, "comparison": "<=", "limit": 1e-06, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "feature_parity", "value": 0.0, "comparison": "<=", "limit": 1e-06, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "golden_rows", "value": 0.0, "comparison": "<=", "limit": 0.0001, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "digests", "value": 0.0, "comparison": "<=", "limit": 0.0, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "parity.native", "value": 0.0, "comparison": "<=", "limit": 0.001, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "parity.onnx", "value": 0.0, "comparison": "<=", "limit": 0.001, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "quality.dm_ewma", "value": -3.0, "comparison": "<", "limit": -1.645, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "quality.dm_scaled_ewma", "value": -3.0, "comparison": "<", "limit": -1.645, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "quality.bias", "value": 1.0, "comparison": "between", "limit": [0.8, 1.25], "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "quality.qlike_vs_ewma", "value": -0.05, "comparison": "<", "limit": 0.0, "note": "", "applicable": true, "against": null, "passed": true}], "digests": {"MLmodel": "4de3acec777a2b6336870fe494285269ca514ce8d829d28800360ed174d5af49", "conda.yaml": "76e1bcc3a3870fddf90c3b6d822d492ad3e11aa9462fc6106f070d1861cdfc13", "contract.json": "99280617bb6ee81c8d8b882e8edd9f8387fa003aed8cbe00dc4df1ded19860b4", "decoder.json": "1b13092a70f049c3e9acde9155b2fa9ff38ded24663d9043849ddccc362ed136", "decoder.npz": "8739c76e681f900923b900c9df0ef75cf421d39cabb54650c4b9ad19b6a76d85", "golden.npz": "10a3a6be314fc0258f3433de457554816f67cab8f19208ebfeadddb13dcd10aa", "native/model.ubj": "27e08b1b1a730db2801c85fd31787e9f53364bfbc17863bea5d2ba8bb78b1002", "onnx/model.onnx": "83e3092b884ed7dc05cc577badc73b5f5303ccf155a14061f6cfa492e875d265", "python_env.yaml": "ca3136342743a628a13a7825715484917828abe2cd4892a7a82044fb94d48a5b", "requirements.txt": "ebff51cdc524d594c5d0211974b4b5bc189a714d3de8097a04166934a05ead84", "validation.json": "ba5149fd12f159c19fd1f17223c558aa68b5086c0d6924d4d91e88bb7a535263"}}');
INSERT INTO "events" VALUES(2,'2026-11-23 04:14:25.760138','promoting','old_trees',1,'record','release 0.1.0',NULL,'{"alias": "production", "generation": 1}');
INSERT INTO "events" VALUES(3,'2026-11-23 04:14:25.768702','promoted','old_trees',1,'record','release 0.1.0',NULL,'{"alias": "production", "generation": 1}');
INSERT INTO "events" VALUES(4,'2026-11-23 04:14:32.522680','registered','old_network',1,'main','a candidate was made','54378920121a418a927d8ff0488d5d8b','{"may_trade": false, "record": [{"gate": "data.checks", "value": 0.0, "comparison": "<=", "limit": 0.0, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "causality", "value": 0.0, "comparison": "<=", "limit": 1e-06, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "feature_parity", "value": 0.0, "comparison": "<=", "limit": 1e-06, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "golden_rows", "value": 0.0, "comparison": "<=", "limit": 0.0001, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "digests", "value": 0.0, "comparison": "<=", "limit": 0.0, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "parity.native", "value": 0.0, "comparison": "<=", "limit": 0.001, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "parity.onnx", "value": 0.0, "comparison": "<=", "limit": 0.001, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "quality.dm_ewma", "value": -3.0, "comparison": "<", "limit": -1.645, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "quality.dm_scaled_ewma", "value": -3.0, "comparison": "<", "limit": -1.645, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "quality.bias", "value": 1.0, "comparison": "between", "limit": [0.8, 1.25], "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "quality.qlike_vs_ewma", "value": -0.05, "comparison": "<", "limit": 0.0, "note": "", "applicable": true, "against": null, "passed": true}], "digests": {"MLmodel": "bfbacf487e8d10c82e71f725818143a17f87cd3c65bbaab40f3a42ee90356bab", "conda.yaml": "76e1bcc3a3870fddf90c3b6d822d492ad3e11aa9462fc6106f070d1861cdfc13", "contract.json": "93f73909fe038e6c80d61b89dd651974a9a92e7a5edfaefe8b0706658b4f1f72", "decoder.json": "1b13092a70f049c3e9acde9155b2fa9ff38ded24663d9043849ddccc362ed136", "decoder.npz": "8739c76e681f900923b900c9df0ef75cf421d39cabb54650c4b9ad19b6a76d85", "golden.npz": "8ad7a6b504d9bda205f198f8829159bc87b90bae6df13b9f30dad6d3edb6e544", "native/model.pt2": "c8f3ef74fac76541de528088a5f3785c53fdba3ab46f1d8ea3d43508932e5bab", "onnx/model.onnx": "f87a6559b1ec9bf61e1033384566e17f04454a85da4ed54c014469dbe99f5cba", "python_env.yaml": "ca3136342743a628a13a7825715484917828abe2cd4892a7a82044fb94d48a5b", "requirements.txt": "ebff51cdc524d594c5d0211974b4b5bc189a714d3de8097a04166934a05ead84", "validation.json": "ba5149fd12f159c19fd1f17223c558aa68b5086c0d6924d4d91e88bb7a535263"}}');
INSERT INTO "events" VALUES(5,'2026-11-23 04:14:32.532763','promoting','old_network',1,'record','release 0.1.0',NULL,'{"alias": "production", "generation": 1}');
INSERT INTO "events" VALUES(6,'2026-11-23 04:14:32.540513','promoted','old_network',1,'record','release 0.1.0',NULL,'{"alias": "production", "generation": 1}');
CREATE TABLE jobs (
	id VARCHAR(32) NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	model_id VARCHAR(200), 
	payload JSON NOT NULL, 
	idempotency_key VARCHAR(64), 
	state VARCHAR(10) NOT NULL, 
	due_at DATETIME NOT NULL, 
	owner VARCHAR(100), 
	fence INTEGER NOT NULL, 
	lease_until DATETIME, 
	max_attempts INTEGER NOT NULL, 
	result JSON, 
	error TEXT, 
	created_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	CONSTRAINT pk_jobs PRIMARY KEY (id), 
	CONSTRAINT uq_jobs_idempotency_key UNIQUE (idempotency_key)
);
CREATE TABLE retraining_cycles (
	id INTEGER NOT NULL, 
	model_id VARCHAR(200) NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	champion INTEGER NOT NULL, 
	challenger INTEGER, 
	"trigger" VARCHAR(40) NOT NULL, 
	as_of DATETIME NOT NULL, 
	job_id VARCHAR(32), 
	reason TEXT NOT NULL, 
	evidence JSON NOT NULL, 
	opened_at DATETIME NOT NULL, 
	cooldown_until DATETIME, 
	closed_at DATETIME, 
	CONSTRAINT pk_retraining_cycles PRIMARY KEY (id)
);
CREATE TABLE schedules (
	name VARCHAR(50) NOT NULL, 
	interval_seconds FLOAT NOT NULL, 
	next_due_at DATETIME NOT NULL, 
	CONSTRAINT pk_schedules PRIMARY KEY (name)
);
CREATE TABLE trials (
	family VARCHAR(64) NOT NULL, 
	recipe VARCHAR(64) NOT NULL, 
	model_id VARCHAR(200) NOT NULL, 
	run_id VARCHAR(32) NOT NULL, 
	sharpe_per_period FLOAT, 
	first_seen_at DATETIME NOT NULL, 
	CONSTRAINT pk_trials PRIMARY KEY (family, recipe)
);
CREATE TABLE versions (
	model_id VARCHAR(200) NOT NULL, 
	number INTEGER NOT NULL, 
	run_id VARCHAR(32) NOT NULL, 
	contract JSON NOT NULL, 
	digests JSON NOT NULL, 
	record JSON NOT NULL, 
	may_trade BOOLEAN NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_versions PRIMARY KEY (model_id, number)
);
INSERT INTO "versions" VALUES('old_trees',1,'f511f52b856044dfb3696a9a26385e0e','{"model_id": "old_trees", "template": "volatility_forecast", "architecture": "xgboost", "feature_set": "close_only", "feature_names": ["log_variance_1", "log_variance_5", "log_variance_10", "log_variance_22", "log_variance_66", "log_variance_252", "log_ewma_variance", "log_slow_variance", "upside_share_22", "scaled_return_1", "scaled_return_5", "scaled_return_22", "scaled_return_66", "scaled_return_252", "log_absolute_return_5", "drawdown_252", "rsi_14", "macd_12_26_9", "macd_histogram_12_26_9", "bollinger_position_20", "bollinger_width_20", "log_close_to_mean_10", "log_close_to_mean_50", "log_close_to_mean_200"], "feature_fingerprint": "f55870a0dedde88970b722dfa9a481b6ba321668b67776a4d1ce8d02c9d10163", "window": 1, "inputs": {"name": "features", "dtype": "float32", "shape": [null, 24]}, "outputs": {"name": "scores", "dtype": "float32", "shape": [null, 1]}, "horizon": "5d", "horizon_bars": 5, "interval": "1d", "min_history": 520, "symbols": ["AAPL", "MSFT"], "price_basis": "adjusted", "native_format": "xgboost-ubj", "label_spec": {}, "cost_spec": {}, "parameters": {"rounds": 3, "max_depth": 2}, "data": {"source": "synthetic", "sha256": "0000000000000000000000000000000000000000000000000000000000000000", "start": "2000-01-01", "end": "2004-01-01", "n_bars": 1000, "note": ""}, "trained_until": "2004-01-01T00:00:00+00:00", "seed": 7, "git_commit": "0000000000000000000000000000000000000000", "lock_sha256": "0000000000000000000000000000000000000000000000000000000000000000", "created_at": "2004-01-01T00:00:00+00:00", "first_test": "", "recent_bars": 0}','{"MLmodel": "4de3acec777a2b6336870fe494285269ca514ce8d829d28800360ed174d5af49", "conda.yaml": "76e1bcc3a3870fddf90c3b6d822d492ad3e11aa9462fc6106f070d1861cdfc13", "contract.json": "99280617bb6ee81c8d8b882e8edd9f8387fa003aed8cbe00dc4df1ded19860b4", "decoder.json": "1b13092a70f049c3e9acde9155b2fa9ff38ded24663d9043849ddccc362ed136", "decoder.npz": "8739c76e681f900923b900c9df0ef75cf421d39cabb54650c4b9ad19b6a76d85", "golden.npz": "10a3a6be314fc0258f3433de457554816f67cab8f19208ebfeadddb13dcd10aa", "native/model.ubj": "27e08b1b1a730db2801c85fd31787e9f53364bfbc17863bea5d2ba8bb78b1002", "onnx/model.onnx": "83e3092b884ed7dc05cc577badc73b5f5303ccf155a14061f6cfa492e875d265", "python_env.yaml": "ca3136342743a628a13a7825715484917828abe2cd4892a7a82044fb94d48a5b", "requirements.txt": "ebff51cdc524d594c5d0211974b4b5bc189a714d3de8097a04166934a05ead84", "validation.json": "ba5149fd12f159c19fd1f17223c558aa68b5086c0d6924d4d91e88bb7a535263"}','[{"gate": "data.checks", "value": 0.0, "comparison": "<=", "limit": 0.0, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "causality", "value": 0.0, "comparison": "<=", "limit": 1e-06, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "feature_parity", "value": 0.0, "comparison": "<=", "limit": 1e-06, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "golden_rows", "value": 0.0, "comparison": "<=", "limit": 0.0001, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "digests", "value": 0.0, "comparison": "<=", "limit": 0.0, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "parity.native", "value": 0.0, "comparison": "<=", "limit": 0.001, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "parity.onnx", "value": 0.0, "comparison": "<=", "limit": 0.001, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "quality.dm_ewma", "value": -3.0, "comparison": "<", "limit": -1.645, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "quality.dm_scaled_ewma", "value": -3.0, "comparison": "<", "limit": -1.645, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "quality.bias", "value": 1.0, "comparison": "between", "limit": [0.8, 1.25], "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "quality.qlike_vs_ewma", "value": -0.05, "comparison": "<", "limit": 0.0, "note": "", "applicable": true, "against": null, "passed": true}]',0,'2026-11-23 04:14:25.739407');
INSERT INTO "versions" VALUES('old_network',1,'54378920121a418a927d8ff0488d5d8b','{"model_id": "old_network", "template": "volatility_forecast", "architecture": "lstm", "feature_set": "close_only", "feature_names": ["log_variance_1", "log_variance_5", "log_variance_10", "log_variance_22", "log_variance_66", "log_variance_252", "log_ewma_variance", "log_slow_variance", "upside_share_22", "scaled_return_1", "scaled_return_5", "scaled_return_22", "scaled_return_66", "scaled_return_252", "log_absolute_return_5", "drawdown_252", "rsi_14", "macd_12_26_9", "macd_histogram_12_26_9", "bollinger_position_20", "bollinger_width_20", "log_close_to_mean_10", "log_close_to_mean_50", "log_close_to_mean_200"], "feature_fingerprint": "f55870a0dedde88970b722dfa9a481b6ba321668b67776a4d1ce8d02c9d10163", "window": 4, "inputs": {"name": "features", "dtype": "float32", "shape": [null, 4, 24]}, "outputs": {"name": "scores", "dtype": "float32", "shape": [null, 1]}, "horizon": "5d", "horizon_bars": 5, "interval": "1d", "min_history": 523, "symbols": ["AAPL", "MSFT"], "price_basis": "adjusted", "native_format": "torch-export", "label_spec": {}, "cost_spec": {}, "parameters": {"hidden": 4, "epochs": 1, "patience": 1}, "data": {"source": "synthetic", "sha256": "0000000000000000000000000000000000000000000000000000000000000000", "start": "2000-01-01", "end": "2004-01-01", "n_bars": 1000, "note": ""}, "trained_until": "2004-01-01T00:00:00+00:00", "seed": 7, "git_commit": "0000000000000000000000000000000000000000", "lock_sha256": "0000000000000000000000000000000000000000000000000000000000000000", "created_at": "2004-01-01T00:00:00+00:00", "first_test": "", "recent_bars": 0}','{"MLmodel": "bfbacf487e8d10c82e71f725818143a17f87cd3c65bbaab40f3a42ee90356bab", "conda.yaml": "76e1bcc3a3870fddf90c3b6d822d492ad3e11aa9462fc6106f070d1861cdfc13", "contract.json": "93f73909fe038e6c80d61b89dd651974a9a92e7a5edfaefe8b0706658b4f1f72", "decoder.json": "1b13092a70f049c3e9acde9155b2fa9ff38ded24663d9043849ddccc362ed136", "decoder.npz": "8739c76e681f900923b900c9df0ef75cf421d39cabb54650c4b9ad19b6a76d85", "golden.npz": "8ad7a6b504d9bda205f198f8829159bc87b90bae6df13b9f30dad6d3edb6e544", "native/model.pt2": "c8f3ef74fac76541de528088a5f3785c53fdba3ab46f1d8ea3d43508932e5bab", "onnx/model.onnx": "f87a6559b1ec9bf61e1033384566e17f04454a85da4ed54c014469dbe99f5cba", "python_env.yaml": "ca3136342743a628a13a7825715484917828abe2cd4892a7a82044fb94d48a5b", "requirements.txt": "ebff51cdc524d594c5d0211974b4b5bc189a714d3de8097a04166934a05ead84", "validation.json": "ba5149fd12f159c19fd1f17223c558aa68b5086c0d6924d4d91e88bb7a535263"}','[{"gate": "data.checks", "value": 0.0, "comparison": "<=", "limit": 0.0, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "causality", "value": 0.0, "comparison": "<=", "limit": 1e-06, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "feature_parity", "value": 0.0, "comparison": "<=", "limit": 1e-06, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "golden_rows", "value": 0.0, "comparison": "<=", "limit": 0.0001, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "digests", "value": 0.0, "comparison": "<=", "limit": 0.0, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "parity.native", "value": 0.0, "comparison": "<=", "limit": 0.001, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "parity.onnx", "value": 0.0, "comparison": "<=", "limit": 0.001, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "quality.dm_ewma", "value": -3.0, "comparison": "<", "limit": -1.645, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "quality.dm_scaled_ewma", "value": -3.0, "comparison": "<", "limit": -1.645, "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "quality.bias", "value": 1.0, "comparison": "between", "limit": [0.8, 1.25], "note": "", "applicable": true, "against": null, "passed": true}, {"gate": "quality.qlike_vs_ewma", "value": -0.05, "comparison": "<", "limit": 0.0, "note": "", "applicable": true, "against": null, "passed": true}]',0,'2026-11-23 04:14:32.521534');
CREATE UNIQUE INDEX uq_deployments_open ON deployments (model_id) WHERE ended_at IS NULL;
CREATE INDEX ix_events_model_id_id ON events (model_id, id);
CREATE INDEX ix_jobs_state_due_at ON jobs (state, due_at);
CREATE UNIQUE INDEX uq_retraining_cycles_open ON retraining_cycles (model_id) WHERE closed_at IS NULL;
CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
COMMIT;
