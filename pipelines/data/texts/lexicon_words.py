"""Words of the finance lexicon: what a word or phrase says of a company or a market, and how much.

Written for this repository, from the vocabulary of company announcements and market reports; no
published word list was used. Weights are 0.5 (a hint), 1 (plain) or 1.5 (drastic). A line holds
base forms: `inflected` in `pipelines/data/texts/lexicon.py` adds the regular endings of verbs and
plurals of nouns, irregular forms are written out.

Limits: English; finance; no irony; a word has one meaning here, whatever the sentence. Words of
direction (`UP`, `DOWN`) say nothing alone: what they say depends on the `TOPICS` beside them
("costs fell" is good news).
"""

POSITIVE_VERBS = {
    1.5: "soar surge skyrocket outperform trounce smash rocket",
    1.0: (
        "beat exceed top surpass rally rebound recover improve accelerate strengthen advance "
        "gain outpace upgrade profit prosper thrive flourish boost expand delight excel "
        "reward impress succeed win triumph innovate overtake bolster"
    ),
    0.5: (
        "approve award benefit complete deliver double triple quadruple enhance gather "
        "launch optimise optimize reaffirm reinstate repay resolve resume settle stabilise "
        "stabilize streamline support unlock welcome attract secure honour honor"
    ),
}
POSITIVE_FORMS = {
    1.5: "record-breaking blockbuster stellar blowout",
    1.0: (
        "beaten won overtook overtaken upbeat bullish buoyant robust strong stronger strongest "
        "strongly excellent exceptional outstanding impressive profitable profitably lucrative "
        "favourable favorable favourably favorably better best breakthrough milestone "
        "oversubscribed optimistic optimism confident confidence momentum upside outperformance "
        "upswing tailwind tailwinds successful successfully prosperous thriving booming boom "
        "windfall success successes improvement improvements recovery resurgence gains "
        "superior promising bumper"
    ),
    0.5: (
        "solid healthy resilient resilience resiliently steady attractive good great positive "
        "positively encouraging encouraged pleased happy efficient efficiency efficiencies "
        "popular innovative leading leadership premium breakthroughs progress approval "
        "synergy synergies opportunity opportunities partnership accretive undervalued "
        "cash-generative investment-grade well-capitalised well-capitalized debt-free buyback "
        "buybacks repurchase ahead brisk lively vibrant constructive cheer relief"
    ),
}
NEGATIVE_VERBS = {
    1.5: "plunge plummet crash collapse crater nosedive implode tank default liquidate evaporate",
    1.0: (
        "tumble slump slide sink miss lag weaken worsen deteriorate disappoint downgrade "
        "underperform underwhelm falter stumble struggle suffer impair erode stagnate "
        "languish fail flounder lose warn allege accuse indict convict fine sue "
        "defraud misstate restate embezzle violate breach halt suspend shutter curtail "
        "axe scrap abandon delist wobble slash hemorrhage haemorrhage retreat flop backfire "
        "exit squander overstate overcharge mislead penalise penalize sanction ban boycott"
    ),
    0.5: (
        "delay postpone defer withdraw recall investigate probe subpoena dispute contest oppose "
        "resign quit question doubt cancel withhold disrupt strain hurt harm damage hamper "
        "hinder pressure squeeze threaten worry fear dent weigh furlough dismiss "
        "idle strike protest terminate reject object drag pare overspend underestimate"
    ),
}
NEGATIVE_FORMS = {
    1.5: (
        "bankrupt bankruptcy bankruptcies insolvent insolvency receivership meltdown fraud "
        "fraudulent catastrophe catastrophic disastrous disaster wipeout ponzi"
    ),
    1.0: (
        "lost sank sunk slid contracted contracting contraction writedown writedowns "
        "write-down write-downs "
        "write-off write-offs writeoff writeoffs lawsuit lawsuits litigation layoff layoffs "
        "redundancy redundancies bearish pessimistic pessimism gloomy gloom bleak dismal grim "
        "weak weaker weakest weakly weakness poor poorly worse worst bad badly disappointing "
        "disappointment disappointments shortfall shortfalls recession recessionary crisis "
        "crises turmoil panic rout selloff sell-off downturn slowdown stagnation stagflation "
        "scandal corruption bribery misconduct negligence wrongdoing violation violations "
        "penalty penalties sanctions indictment conviction delisting unprofitable loss-making "
        "overvalued headwind headwinds contagion distressed distress underperformance "
        "non-compliance outage outages breaches failure failures embezzlement unpaid "
        "cyberattack cyberattacks ransomware hack hacked leak leaks junk foreclosure foreclosures "
        "adverse adversely unfavourable unfavorable painful severe severely"
    ),
    0.5: (
        "uncertain uncertainty risk risks risky volatile volatility cautious caution concern "
        "concerns concerned worries fears doubts difficult difficulty difficulties challenging "
        "challenges tough sluggish soft softer softness slow slower flat lacklustre lackluster "
        "muted subdued tepid problem problems setback setbacks hurdle hurdles allegation "
        "allegations investigation investigations probe inquiry complaint complaints strike "
        "strikes delays disruption disruptions shortage shortages glut oversupply dilution "
        "dilutive restructuring closure closures withdrawal resignation recalls damages "
        "negative negatively unfortunately costly expensive idle stricken dispute disputes "
        "obsolete overdue illiquid exposed vulnerable"
    ),
}
PHRASES = {
    "profit warning": -1.5,
    "profits warning": -1.5,
    "going concern": -1.5,
    "chapter 11": -1.5,
    "chapter eleven": -1.5,
    "goes bust": -1.5,
    "went bust": -1.5,
    "class action": -1.0,
    "short seller": -1.0,
    "short sellers": -1.0,
    "credit watch": -0.5,
    "bad debt": -1.0,
    "bad debts": -1.0,
    "bad loans": -1.0,
    "covenant breach": -1.0,
    "margin call": -1.0,
    "margin calls": -1.0,
    "job cuts": -1.0,
    "price war": -1.0,
    "short of": -1.0,
    "fell short": -1.0,
    "falls short": -1.0,
    "below expectations": -1.0,
    "below estimates": -1.0,
    "below forecasts": -1.0,
    "below consensus": -1.0,
    "worse than": -1.0,
    "weaker than": -1.0,
    "less than expected": -1.0,
    "lower than expected": -1.0,
    "in the red": -1.0,
    "under pressure": -1.0,
    "under investigation": -1.0,
    "supply chain disruption": -1.0,
    "steps down": -0.5,
    "stepped down": -0.5,
    "rights issue": -0.5,
    "above expectations": 1.0,
    "above estimates": 1.0,
    "above forecasts": 1.0,
    "above consensus": 1.0,
    "ahead of": 1.0,
    "better than": 1.0,
    "stronger than": 1.0,
    "more than expected": 1.0,
    "higher than expected": 1.0,
    "in the black": 1.0,
    "back to profit": 1.0,
    "returns to profit": 1.0,
    "returned to profit": 1.0,
    "turns profitable": 1.0,
    "all time high": 1.0,
    "record profit": 1.5,
    "record profits": 1.5,
    "record revenue": 1.5,
    "record sales": 1.5,
    "record earnings": 1.5,
    "record orders": 1.5,
    "record results": 1.5,
    "record loss": -1.5,
    "record losses": -1.5,
    "share buyback": 1.0,
    "special dividend": 1.0,
    "market share gains": 1.0,
    "top pick": 1.0,
    "strong buy": 1.5,
    "outperform rating": 1.0,
    "sell rating": -1.0,
    "in line with": 0.0,
    "in line": 0.0,
    "top up": 0.0,
    "interest rate risk": 0.0,
    "risk management": 0.0,
    "risk committee": 0.0,
    "strike price": 0.0,
    "fine tune": 0.0,
    "profit and loss": 0.0,
    "gains and losses": 0.0,
    "loss adjuster": 0.0,
    "best practice": 0.0,
    "good faith": 0.0,
    "top of": 0.0,
    "win rate": 0.0,
    "not only": 0.0,
    "up to": 0.0,
    "set up": 0.0,
    "start up": 0.0,
    "follow up": 0.0,
    "made up": 0.0,
    "down to earth": 0.0,
    "more or less": 0.0,
    "shut down": -1.0,
    "shuts down": -1.0,
    "wind down": -0.5,
    "broke down": -1.0,
    "scale back": -1.0,
    "scales back": -1.0,
    "scaled back": -1.0,
    "pulls out": -0.5,
    "pulled out": -0.5,
    "pay rise": 0.5,
    "tax cut": 0.5,
    "cost cutting": 0.5,
    "cuts costs": 1.0,
    "cut costs": 1.0,
}
"""Up to three words; the longest that fits is read first. 0 silences the words inside."""

UP_VERBS = {
    1.5: "spike treble",
    1.0: "rise grow climb jump increase raise lift hike swell widen mount leap escalate",
    0.5: "build add heighten extend",
}
UP_FORMS = {
    1.5: "",
    1.0: "rose risen grew grown leapt higher highest growth growing upward upwards",
    0.5: "up more above larger bigger",
}
DOWN_VERBS = {
    1.5: "halve",
    1.0: "fall drop decline decrease shrink narrow reduce lower dip recede trim ease abate",
    0.5: "slip shed dwindle diminish soften cool lighten",
}
DOWN_FORMS = {
    1.5: "",
    1.0: "fell fallen cut cuts cutting shrank shrunk lowest decreasing downward downwards",
    0.5: "down less below smaller lesser fewer",
}
GOOD_TOPICS = (
    "profit profits earning earnings revenue revenues sales turnover income margin margins "
    "ebitda eps cash dividend dividends share shares stock stocks guidance forecast forecasts "
    "outlook orders order backlog demand output production volume volumes bookings traffic "
    "subscribers customers users deliveries exports employment jobs hiring payrolls wages gdp "
    "confidence rating target targets value occupancy "
    "liquidity capital deposits premiums productivity capacity investment"
)
BAD_TOPICS = {
    -1.0: (
        "loss losses deficit deficits defaults delinquencies delinquency arrears churn "
        "impairment impairments shortfall shortages"
    ),
    -0.5: (
        "debt debts unemployment jobless provisions liabilities claims layoffs complaints risk "
        "risks concerns fears delays accidents"
    ),
    0.0: (
        "cost costs expense expenses expenditure inflation inventories inventory leverage "
        "borrowing borrowings overheads emissions tax taxes tariff tariffs taxation spread "
        "spreads volatility vacancy vacancies rates yields"
    ),
}
"""What a topic says when nothing moves it: a loss is bad, costs are a fact."""

NEGATORS = (
    "not no never none neither nor cannot can't won't don't doesn't didn't isn't aren't wasn't "
    "weren't hasn't haven't hadn't wouldn't couldn't shouldn't without hardly barely unable "
    "avoid avoids avoided avoiding rule ruled denies denied deny"
)
AMPLIFIERS = (
    "very sharply steeply significantly substantially dramatically considerably heavily hugely "
    "massively much strongly materially markedly deeply far extremely record big"
)
DAMPENERS = (
    "slightly marginally modestly somewhat mildly fractionally moderately partly partially "
    "little bit narrowly gently"
)
UNCERTAIN = (
    "may might could possibly perhaps maybe unclear uncertain uncertainty pending depends "
    "approximately estimated preliminary tentative contingent unknown unresolved speculation "
    "rumour rumours rumor rumors reportedly considering exploring reviewing"
)
CLAUSE_WORDS = "but however although though despite while whereas yet"
