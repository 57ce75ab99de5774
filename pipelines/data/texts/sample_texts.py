"""Sample texts: labelled sentences about companies and markets, written for this repository.

No company in them exists and none was taken from a data set. They are what template `sentiment`
trains on and is judged on with `source=sample`, so that it works out of the box. They show that
the parts fit together; they do not show how a model does on your texts: they are short, clear, in
one style, and were written by the people who wrote the lexicon (docs/templates/sentiment.md).

One sentence a line, a block per subject. The order that `rows` gives is fixed and mixes classes
and subjects; there are no times.
"""

import random

ORDER_SEED = 20

NEGATIVE = """
Veltra shares plunged after the company warned that second-half profit would miss forecasts.
Halden Foods cut its full-year guidance for the third time in a year.
Quarterly earnings at Norwick Steel fell 38 percent as demand for construction steel collapsed.
Orbane posted a net loss of 92 million euros, twice what analysts had feared.
Revenue at the retailer dropped for a sixth straight quarter.
Margins narrowed sharply because the maker of refrigerators could not pass on its costs.
The group swung from a profit to a loss in the first half.
Operating income was well below estimates and the shares lost a tenth of their value.
Kestrel Air said that weak summer bookings would wipe out most of its annual profit.
Same-store sales declined again as shoppers turned to cheaper rivals.
The printer maker reported the worst quarter in its history.
Full-year results disappointed even the most cautious analysts.
Sales of the new handset have been far slower than management had promised.
The brewer said that volumes shrank in every region.
The insurer's profit halved after a run of storm claims.
Marlow Bank set aside another 400 million for bad loans.
The lender's delinquencies on car loans climbed to the highest level in a decade.
Rating downgrades are piling up for owners of empty office towers.
The developer missed a coupon payment and its bonds sank to 21 cents.
Depositors withdrew a fifth of the bank's funds in two days.
The rating agency lowered the airline to junk and kept a negative outlook.
Auditors doubt that the battery start-up can continue as a going concern.
Covenant breaches forced the shipping line into talks with its creditors.
The fund halted redemptions after a wave of withdrawals.
Tallis Energy filed for bankruptcy protection under a mountain of debt.
The regional bank's capital ratio slipped below the level that the regulator demands.
Spreads on the company's bonds widened to a record.
The borrower defaulted on its loan and the lenders seized the warehouse.
Prosecutors charged the former finance chief with fraud.
The regulator fined the broker 75 million for misleading its clients.
A jury ordered the drug maker to pay damages to thousands of patients.
The watchdog opened an investigation into how the firm books its revenue.
Shareholders sued the board over the failed takeover.
The company restated three years of accounts after finding fictitious invoices.
Customs officers raided the head office in a bribery probe.
The antitrust authority blocked the merger.
The court rejected the patent claim, opening the way for cheap copies.
The bank was caught laundering money for a cartel.
A whistleblower accused the miner of hiding toxic spills.
The exchange suspended trading in the stock pending an inquiry into the accounts.
Lerwick Motors recalled 600,000 cars because the brakes may fail.
The plane maker halted deliveries after inspectors found cracks in the wings.
A fire destroyed the company's largest warehouse days before the holiday season.
Hackers stole the records of nine million customers.
The network outage left half of the country without phone service and cost the operator dearly.
Floods shut the copper mine and the company declared force majeure.
Shortages of parts idled two of the three assembly lines.
The launch of the engine slipped by another year.
The late-stage trial failed and the biotech lost two thirds of its market value.
The regulator declined to approve the heart drug, citing safety concerns.
Three patients died in the study, which was stopped at once.
The satellite was lost minutes after the launch.
A strike by dock workers has paralysed the port for a second week.
Production at the refinery stopped after an explosion.
The supplier went bust and took half of the order book with it.
The retailer will close 120 stores and lay off 3,000 people.
The board suspended the dividend to save cash.
The chief executive resigned abruptly amid a dispute with the founders.
The finance director quit after only four months.
The company called off the sale of its chemicals unit for lack of bidders.
An activist accused management of squandering two billion on takeovers.
The software firm is cutting a quarter of its staff as growth stalls.
The group wrote down the value of its French business by 1.2 billion.
Shares plunged after the miner booked an impairment on its nickel assets.
Goodwill impairment pushed the media group deep into the red.
The discounter issued a second profit warning within six weeks.
The company pulled its flotation because investors balked at the price.
The share offering flopped and the underwriters were left with most of the stock.
The emergency rights issue will heavily dilute existing holders.
The largest customer cancelled its contract without notice.
The carrier lost the government contract to a rival.
Subscribers left the streaming service in record numbers.
Churn worsened after the price increase.
Orders for machine tools tumbled in March, pointing to a deep slump.
The order backlog shrank to its smallest since the crisis.
Inventories of unsold cars are swelling and discounts are getting steeper.
Brokers cut the stock to sell, warning of a price war.
The analyst slashed her price target and sees no recovery before next year.
Short sellers have doubled their bets against the lender.
The stock hit a ten-year low.
The index suffered its steepest one-day fall since the pandemic.
Technology shares led a broad sell-off as bond yields jumped.
Stocks tumbled on fears that the bank failure would spread.
Oil prices crashed as the cartel failed to agree on cuts.
The currency sank to a record low against the dollar.
Investors dumped emerging-market bonds.
Panic gripped the market and trading was halted twice.
Factory output contracted for the fifth month in a row.
The economy slid into recession in the fourth quarter.
Unemployment rose sharply as builders and banks shed workers.
Inflation accelerated again, squeezing household budgets.
Consumer confidence fell to its lowest in eight years.
Housing starts slumped to levels last seen in the crisis.
Retail sales unexpectedly declined in November.
Exports plummeted after the new tariffs took effect.
The central bank warned that credit losses would mount.
The trade deficit widened as orders from abroad dried up.
The government lowered its growth forecast for the second time.
Farm incomes are collapsing under the drought.
Rents for offices keep falling and a third of the space is vacant.
The shipping group sees no end to the glut of vessels.
Freight rates have halved since the spring and are still dropping.
Gas storage is running low and prices have spiked to painful levels.
The chip maker blamed weak demand for phones and scrapped its forecast.
The company burns cash so fast that it may not last the year.
Net debt ballooned after the ill-timed acquisition.
Free cash flow turned negative and the buyback was stopped.
Pension shortfalls will drain the company's cash for years.
The turnaround plan is failing, former managers say.
Ticket sales are so poor that the theatre chain is shutting half of its screens.
The maker of solar panels lost its only profitable market.
Customers complain of late deliveries and many are not coming back.
The pipeline leak will cost far more than the insurer covers.
Sanctions have cut the bank off from its biggest clients.
Tourism has not recovered and hotels are going under.
The merger destroyed value, and its costs keep mounting.
Two directors sold most of their shares just before the warning.
Hopes for a rescue faded when the investor walked away.
The company failed to find a buyer and will be wound up.
Growth is not coming back, and the dividend is no longer safe.
The new drug did not work better than a placebo.
None of the three plants makes money.
The cuts to guidance keep coming.
Bondholders face heavy losses in the restructuring.
"""

NEUTRAL = """
Veltra will publish its half-year report on 14 August.
The annual general meeting takes place in Lisbon on Thursday.
Halden Foods has its head office in Oslo and employs 4,200 people.
The board of Norwick Steel consists of nine directors.
Orbane makes pumps and valves for water utilities.
The company was founded in 1987 and listed two years later.
Quarterly revenue was 310 million euros, unchanged from a year ago.
Results were in line with what analysts had expected.
The group confirmed the dates of its investor day.
Earnings per share came to 1.12, as guided.
The retailer operates 640 stores in eleven countries.
Kestrel Air flies to 84 destinations from its base in Porto.
Management kept its guidance for the year.
The outlook for the full year is unchanged.
The company did not comment on the report.
A spokesman declined to give further details.
The accounting year will end in June from now on.
The figures for the prior year were translated at current exchange rates.
The report covers the period from January to September.
The brewer reports under international standards.
The ratio of net debt to equity was 0.6 at both dates.
Marlow Bank appointed a new head of communications.
The lender will move its offices to another street in the same district.
Maria Olsen takes over as chair when the current chair's term ends in May.
The finance director will retire next spring as planned.
The board nominated two candidates for election.
The company changed its name and will trade under a new symbol from Monday.
Shareholders of record on 3 May are entitled to vote.
The notice of the meeting was sent to all holders.
The registrar published the number of voting rights.
The company issued ten-year bonds with a coupon of 4 percent.
The notes mature in 2031 and pay interest twice a year.
The credit line was renewed on the same terms.
The rating agency affirmed its rating with a stable outlook.
The bonds are listed in Luxembourg.
The auditor's term of office runs for another three years.
The prospectus is available on the website.
The regulator published a consultation paper on reporting rules.
The authority will decide on the application by the end of the year.
The court set a hearing for 9 October.
The new rules apply from January.
The ministry asked for written comments by the end of the month.
The bill is being discussed in the committee.
The antitrust authority has begun its routine review of the transaction.
The two companies are holding talks; terms were not disclosed.
The transaction is expected to close in the third quarter.
The agreement covers the delivery of spare parts.
The contract runs for five years.
The companies extended their existing supply agreement.
The joint venture is owned in equal parts by both partners.
The unit accounts for about 12 percent of group sales.
The plant in Gdansk makes gearboxes.
The mine has an expected life of fourteen years.
The refinery is undergoing scheduled maintenance.
The ship carries grain between Santos and Rotterdam.
The pipeline is 480 kilometres long.
The survey covered 1,200 households.
The index contains the 40 largest companies by market value.
The index ended the day where it had started.
Stocks were little changed in thin trading.
Trading volume was in line with its average of the last month.
Markets are closed on Monday for a holiday.
The euro traded at 1.08 to the dollar, as on Friday.
Bond yields moved within a narrow range.
Oil was unchanged ahead of the inventory report.
Gold was flat in early trading.
The stock closed at 41.20.
Options on the stock expire on Friday.
The shares trade in London and Frankfurt.
The fund holds shares of 62 companies.
The fund invests in listed companies worldwide.
The fund's fees are charged quarterly.
The asset manager publishes its holdings at the end of each quarter.
The central bank left interest rates unchanged, as expected.
The minutes of the meeting will be released in three weeks.
The statistics office publishes the inflation figures on Wednesday.
Unemployment stood at 5.1 percent, the same as in the month before.
The economy grew at the same pace as in the previous quarter.
The index of consumer prices was revised to reflect a new basket.
The census counted 5.4 million households.
The budget will be presented to parliament in March.
The finance ministers meet in Brussels next week.
The governor gives a speech at noon.
The data cover all firms with more than ten employees.
Analysts at four banks follow the company.
The broker began coverage with a neutral rating.
The analyst kept a hold rating and an unchanged price target.
The consensus is collected by the company from twelve analysts.
The conference call starts at 10 a.m.
The slides can be downloaded after the presentation.
The questions and answers will be published as a transcript.
The company uses contractors for part of its logistics.
The patent describes a method for coating glass.
The trial will enrol 300 patients at 25 sites.
The drug is taken once a day.
The laboratory is in Basel.
The software runs on most phones.
The new version replaces the one released in April.
The car is offered with two engines.
The store opens at nine.
The airline serves coffee and sandwiches on short flights.
The warehouse has 40,000 square metres of floor space.
The contract was signed in the presence of a notary.
The lease ends in 2029.
The hotel has 212 rooms.
The company buys its electricity on the open market.
The wheat harvest usually begins in July.
Sugar is quoted in cents per pound.
The futures contract calls for delivery in Chicago.
The exchange publishes settlement prices at 5 p.m.
Clearing takes place two days after the trade.
The tax authority explained how the form is to be filled in.
The pension plan is closed to new members.
The employees' representatives were informed about the plan.
The works council will be consulted in June.
The group has adopted the new standard for leases.
Depreciation is calculated over twenty years.
The segment report lists four business areas.
The comparative figures have been reclassified.
The company has no operations in that country.
Half of the members of the committee are independent.
The interim report has not been audited.
The amount is shown in thousands of dollars.
The chair thanked the shareholders for attending.
The next report is due in February.
The name of the buyer was not published.
The company sells its products through wholesalers.
"""

POSITIVE = """
Veltra shares jumped after quarterly profit beat every estimate.
Halden Foods raised its full-year guidance for the second time.
Quarterly earnings at Norwick Steel rose 42 percent on strong orders from car makers.
Orbane returned to profit after two years of losses.
Revenue grew for the tenth straight quarter.
Margins widened as the maker of refrigerators brought its costs down.
The group posted record sales and a record profit.
Operating income was well ahead of forecasts and the shares gained a tenth.
Kestrel Air said that strong summer bookings would lift its annual profit.
Same-store sales climbed as shoppers came back.
The printer maker reported the best quarter in its history.
Full-year results delighted even the most demanding analysts.
Sales of the new handset have been far better than management had hoped.
The brewer said that volumes grew in every region.
The insurer's profit doubled after a quiet storm season.
Marlow Bank released 150 million that it had set aside for bad loans.
The lender's defaults fell to the lowest level in a decade.
Owners of city apartments are enjoying full occupancy and rising rents.
The developer repaid its bonds early.
Deposits at the bank grew for the fourth quarter in a row.
The rating agency upgraded the airline to investment grade.
The battery start-up secured funding for the next three years.
The shipping line cut its net debt by half.
Inflows into the fund reached a new high.
Tallis Energy emerged from bankruptcy with a clean balance sheet.
The bank passed the stress test with plenty of capital to spare.
Spreads on the company's bonds narrowed to their tightest in years.
The lender's bad debts shrank faster than expected.
A judge cleared the former finance chief of all charges.
The regulator dropped its case against the broker.
The drug maker settled the lawsuit for far less than feared.
The watchdog closed its investigation without finding fault.
Shareholders overwhelmingly approved the merger.
The authority cleared the takeover without conditions.
The court upheld the patent, keeping cheap copies out until 2032.
The appeal succeeded and the fine was annulled.
Lerwick Motors won the safety award for the third year.
The plane maker stepped up deliveries and is ahead of plan.
The new warehouse has cut delivery times by half.
The operator's network was rated the most reliable in the country.
The copper mine reopened early and is running at full capacity.
Parts are plentiful again and all three assembly lines are running.
The engine was certified six months ahead of schedule.
The late-stage trial succeeded and the biotech's shares doubled.
The regulator approved the heart drug a year early.
Patients in the study lived markedly longer.
The satellite reached its orbit and works perfectly.
The strike at the port ended with an agreement that both sides welcome.
The refinery is back on line and margins are excellent.
The supplier won an order worth twice its annual sales.
The retailer will open 120 stores and hire 3,000 people.
The board doubled the dividend.
The company announced a special dividend and a large share buyback.
The widely admired chief executive extended her contract.
The company sold its chemicals unit for much more than expected.
An activist praised the turnaround and bought more shares.
The software firm is hiring as growth accelerates.
The group's French business is worth far more than its book value.
Shares soared after the miner found a rich nickel deposit.
Strong advertising lifted the media group back into the black.
The discounter raised its profit forecast twice within six weeks.
The flotation was ten times oversubscribed.
Investors snapped up the new shares at the top of the range.
The company has no debt and plenty of cash.
The largest customer renewed its contract for ten years.
The carrier won the government contract.
The streaming service added a record number of subscribers.
Churn improved after the new shows were released.
Orders for machine tools surged in March, pointing to a strong recovery.
The order backlog grew to an all-time high.
Cars are selling as fast as they can be built, without discounts.
Brokers raised the stock to buy, citing better prices.
The analyst lifted her price target and sees plenty of room to grow.
Short sellers are giving up their bets against the lender.
The stock hit an all-time high.
The index had its best day since the spring.
Technology shares led a broad rally as bond yields eased.
Stocks rebounded strongly as fears about the banks faded.
Oil producers gained after the cartel agreed on cuts.
The currency strengthened for the sixth week.
Investors returned to emerging-market bonds in force.
Calm returned to the market and volatility fell.
Factory output expanded for the fifth month in a row.
The economy left the recession behind and grew briskly in the fourth quarter.
Unemployment fell again as builders and banks hired.
Inflation eased, giving households some relief.
Consumer confidence rose to its highest in eight years.
Housing starts jumped to levels last seen before the crisis.
Retail sales unexpectedly surged in November.
Exports boomed after the tariffs were lifted.
The central bank said that credit quality had improved.
The trade surplus widened as orders from abroad poured in.
The government raised its growth forecast for the second time.
Farm incomes are rising on a bumper harvest.
Demand for offices is back and rents are climbing.
Freight rates have doubled since the spring and ships are fully booked.
Gas storage is full and prices have come down.
The chip maker cannot keep up with demand and raised its forecast.
The company generates more cash than it can invest.
Net debt is falling fast thanks to the well-timed disposal.
Free cash flow tripled and the buyback was enlarged.
The pension plan is now in surplus.
The turnaround is working, and ahead of plan.
The cinema chain sold more tickets than ever.
The maker of solar panels has become profitable in every market.
Customers praise the quick deliveries and come back for more.
The insurer will cover the whole cost of the repair.
The lifting of sanctions gives the bank its biggest clients back.
Tourism has fully recovered and hotels are sold out.
The merger has created more value than promised, and its costs were lower.
Several directors bought shares after the results.
A strong partner has agreed to invest in the company.
The company received three attractive offers.
The dividend is safe and growth is coming back.
The new drug worked twice as well as the old one.
All three plants make money.
The company did not lose a single customer in the downturn.
Losses narrowed sharply and a profit is in sight.
The loss was much smaller than feared.
Costs fell faster than planned.
Productivity improved at every site.
The new chief has restored trust, and talent is returning.
Cheaper energy will lift margins for years.
"""


def rows() -> list[tuple[str, str]]:
    """Return (text, label) of every sentence, in an order that is always the same."""
    found = [
        (line, label)
        for label, block in (
            ("negative", NEGATIVE),
            ("neutral", NEUTRAL),
            ("positive", POSITIVE),
        )
        for line in block.split("\n")
        if line
    ]
    random.Random(ORDER_SEED).shuffle(found)  # noqa: S311 (an order, not a secret)
    return found
