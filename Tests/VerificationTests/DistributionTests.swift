import Foundation
import Testing
import Verification

/// Expected values: SciPy 1.17.1 (`scipy.stats.t.ppf`, `norm`, `binomtest`), whose own error is below 1e-13 relative;
/// the tolerance 1e-10 leaves room for the difference of large `lgamma`s at 5,000 degrees of freedom.
@Suite struct DistributionTests {
  @Test(
    "Student's t quantiles equal SciPy's",
    arguments: [
      (
        0.6,
        [
          0.32491969623290634, 0.2886751345948128, 0.2766706623326898, 0.25955586047627044, 0.255082228169606,
          0.25368437919014747, 0.25336058396923183,
        ]
      ),
      (
        0.8,
        [
          1.3763819204711738, 1.0606601717798214, 0.9784723123633042, 0.8755299780738819, 0.8509350199201249,
          0.8434221315354185, 0.8416931276635048,
        ]
      ),
      (
        0.95,
        [
          6.313751514675037, 2.9199855803537242, 2.3533634348018233, 1.7958848187040433, 1.6848751217112248,
          1.6525081009108769, 1.6451584375969708,
        ]
      ),
      (
        0.975,
        [
          12.706204736174694, 4.302652729749462, 3.1824463052837078, 2.200985160091639, 2.022690920036761,
          1.9718962236339088, 1.9604385517065073,
        ]
      ),
      (
        0.9995,
        [
          636.6192487687897, 31.599054576445365, 12.923978636687961, 4.436979338234516, 3.5581200813327714,
          3.3398354062757107, 3.2924737233708825,
        ]
      ),
    ] as [(Double, [Double])])
  func student(_ probability: Double, _ expected: [Double]) {
    for (freedom, value) in zip([1.0, 2, 3, 11, 39, 200, 5000], expected) {
      #expect(isClose(Distributions.studentQuantile(probability, degreesOfFreedom: freedom), value, 1e-10))
      #expect(isClose(Distributions.studentQuantile(1 - probability, degreesOfFreedom: freedom), -value, 1e-10))
    }
  }

  @Test("t with one and two degrees of freedom has closed forms")
  func closedForms() {
    for p in [0.01, 0.2, 0.5, 0.77, 0.999] {
      // One: the Cauchy distribution. Two: (2p − 1)/√(2p(1 − p)).
      let cauchy = tan(.pi * (p - 0.5))
      let two = (2 * p - 1) / (2 * p * (1 - p)).squareRoot()
      #expect(abs(Distributions.studentQuantile(p, degreesOfFreedom: 1) - cauchy) <= 1e-11 * max(1, abs(cauchy)))
      #expect(abs(Distributions.studentQuantile(p, degreesOfFreedom: 2) - two) <= 1e-11 * max(1, abs(two)))
    }
  }

  @Test func normal() {
    for (p, x) in [
      (0.001, -3.090232306167813), (0.025, -1.9599639845400545), (0.3, -0.5244005127080409), (0.5, 0),
      (0.95, 1.6448536269514722),
    ] { #expect(abs(Distributions.normalQuantile(p) - x) < 1e-13) }
    #expect(isClose(Distributions.normalCDF(-5), 2.866515718791933e-07))
    #expect(isClose(Distributions.normalCDF(2), 0.9772498680518208))
  }

  @Test(
    "the exact McNemar test equals SciPy's two-sided binomial test",
    arguments: [
      (0, 0, 1.0), (1, 0, 1), (3, 1, 0.625), (10, 2, 0.03857421875), (2, 10, 0.03857421875),
      (40, 61, 0.046044066929342785), (500, 430, 0.023608839292547163), (5, 5, 1),
    ])
  func mcNemar(_ worse: Int, _ better: Int, _ expected: Double) {
    #expect(isClose(Distributions.mcNemar(worse: worse, better: better), expected, 1e-10))
  }

  @Test("quantiles interpolate between order statistics as NumPy does")
  func quantiles() {
    // numpy.quantile([1, 2, 4, 8], p): positions 0, 0.75, 1.5, 2.97 and 3.
    for (p, expected) in [(0.0, 1.0), (0.25, 1.75), (0.5, 3), (0.99, 7.88), (1, 8)] {
      #expect(isClose(Quantile.linear(sorted: [1, 2, 4, 8], p), expected))
    }
    #expect(Quantile.linear(sorted: [5], 0.3) == 5)
  }
}
