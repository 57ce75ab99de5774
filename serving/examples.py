"""Example bodies of the wire contract, shown in OpenAPI; a test sends each of them."""

from typing import Any

COLUMNS: dict[str, Any] = {
    "model_type": "trading_signals",
    "symbols": ["AAPL", "MSFT", "GOOGL"],
    "features": {
        "price_data": [150.25, 305.5, 2750.8],
        "volume": [1_000_000, 800_000, 500_000],
        "technical_indicators": {"rsi": [65.2, 58.7, 72.1], "macd": [1.2, 0.8, 2.1]},
    },
    "prediction_horizon": "1d",
}
HELD: dict[str, Any] = {"model": "volatility_forecast", "symbols": ["AAPL", "MSFT"]}
OWN_BARS: dict[str, Any] = {
    "model": "volatility_forecast",
    "bars": {
        "AAPL": [
            {"timestamp": "2007-01-03T00:00:00Z", "close": 2.99, "volume": 309_000_000},
            {"timestamp": "2007-01-04T00:00:00Z", "close": 3.06, "volume": 211_000_000},
        ]
    },
    "price_basis": "adjusted",
}
ROWS: dict[str, Any] = {
    "model": "volatility_forecast",
    "rows": [[-8.1, -8.2, -8.3, -8.4, -8.5, 0.01, -0.02, 0.3, *(0.1 for _ in range(16))]],
    "context": {"ewma_variance": [0.0002]},
}
TABLE_ROWS: dict[str, Any] = {
    "model": "tabular",
    "rows": [
        {"age": 41, "city": "Rome"},
        {"age": 29, "city": "Oslo"},
    ],
}
TEXTS: dict[str, Any] = {
    "model": "sentiment",
    "texts": [
        "Shares plunge after impairment",
        {"id": "n-17", "text": "The board will meet on Tuesday"},
    ],
}
PORTFOLIO: dict[str, Any] = {
    "model_type": "portfolio_risk",
    "portfolio": {
        "positions": [
            {"symbol": "AAPL", "weight": 0.6, "shares": 400},
            {"symbol": "MSFT", "weight": 0.4, "shares": 120},
        ]
    },
    "risk_metrics": ["var_95", "cvar_95", "max_drawdown", "sharpe_ratio"],
    "time_horizon": "1d",
}
PREDICT: dict[str, dict[str, Any]] = {
    "columns per symbol, one of which has no history": COLUMNS,
    "the bars held": HELD,
    "bars of the caller (as many as min_history)": OWN_BARS,
    "feature rows": ROWS,
    "rows of a table": TABLE_ROWS,
    "texts": TEXTS,
    "the risk of a portfolio": PORTFOLIO,
}
BARS: dict[str, Any] = {
    "bars": [
        {"symbol": "AAPL", "timestamp": "2007-01-03T00:00:00Z", "close": 2.99},
        {"symbol": "MSFT", "timestamp": "2007-01-03T00:00:00Z", "close": 21.2},
    ],
    "interval": "1d",
    "price_basis": "adjusted",
}
PUT_BARS: dict[str, Any] = {
    "bars": [{"symbol": "AAPL", "timestamp": "2007-01-03T00:00:00Z", "close": 2.98}],
    "interval": "1d",
    "reason": "the feed took the wrong close",
}
OUTCOMES: dict[str, Any] = {
    "outcomes": [
        {
            "model_id": "volatility_forecast",
            "symbol": "AAPL",
            "as_of": "2007-01-03T00:00:00Z",
            "value": 0.00021,
            "known_at": "2007-01-10T00:00:00Z",
        },
        {"request_id": "order-7731", "symbol": "n-17", "value": "negative"},
    ]
}
ANSWER: dict[str, Any] = {
    "model_id": "trading_signals",
    "model_type": "trading_signals",
    "model_version": 1,
    "model_version_label": "v1",
    "predictions": {
        "AAPL": {
            "signal": "HOLD",
            "confidence": 0.41,
            "probabilities": {"SELL": 0.28, "HOLD": 0.41, "BUY": 0.31},
            "meta_confidence": None,
            "ece": 0.012,
            "threshold": None,
            "abstained": "no_edge",
            "reason": "the trade lock is shut by 2 gates",
            "failed_gates": [
                "edge.dsr: 0.31, needs >= 0.95",
                "edge.choice_loss: 0.62, needs < 0.25",
            ],
            "target_price": 150.6,
            "interval": {"lower": 146.1, "upper": 155.2, "level": 0.9},
            "adaptive_interval": {"lower": 145.8, "upper": 155.6, "level": 0.9},
            "expected_log_return": 0.0006,
            "sigma": 0.018,
            "out_of_distribution": {"score": 2.1, "limit": 9.4, "feature": "rsi_14"},
            "fill": "next_close",
            "path": "close",
            "as_of": "2006-12-30T00:00:00Z",
            "history_end": "2006-12-29T00:00:00Z",
            "price_basis": "adjusted",
        }
    },
    "errors": {
        "GOOGL": {
            "code": "no_history",
            "message": "no history for 'GOOGL'; post its bars to /bars first; held: AAPL, MSFT",
            "details": {"symbol": "GOOGL", "known": ["AAPL", "MSFT"]},
        }
    },
    "ignored": ["technical_indicators.macd_histogram"],
    "warnings": [],
    "processing_time_ms": 3.2,
    "hardware_used": "cpu",
    "flavor": "onnx",
    "fallback": None,
    "request_id": "6e0c8f6b1c1d4f0e9a41f0a1d9a5b7c2",
}
